//! The modules of a crate, as its source files declare them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syn::{Attribute, Item, ItemMod, UseTree, Visibility};

/// Reads a source file; `None` if there is no such file.
pub type ReadSource<'a> = dyn Fn(&Path) -> Option<String> + 'a;

/// All modules of one crate, the root first.
pub struct Modules {
    pub modules: Vec<Module>,
}

/// One module: a file, or a block in one.
pub struct Module {
    /// The file in which the module's items are written.
    pub file: PathBuf,
    /// The module's place in [`Modules::modules`] of its parent; `None` at the root.
    pub parent: Option<usize>,
    /// The modules declared here, by name. Two of one name have different `cfg` attributes.
    pub children: HashMap<String, Vec<usize>>,
    /// Names of the functions, types, traits, constants and macros that are written here.
    pub defined: Vec<String>,
    /// The `use` declarations, those inside functions included.
    pub imports: Vec<Import>,
    /// Everything else that is written here.
    pub items: Vec<Item>,
}

/// One name that a `use` declaration brings in.
pub struct Import {
    /// The path as written, without `*` and `as`.
    pub path: Vec<String>,
    /// The name under which it can be used here; `None` for `*`.
    pub name: Option<String>,
    /// Whether the declaration hands the name on (`pub use`, `pub(crate) use`).
    pub is_handed_on: bool,
}

impl Modules {
    /// Reads the crate whose root is `root`, modules that are compiled for tests only aside.
    ///
    /// # Errors
    /// A file that is not there or is not Rust.
    pub fn read(root: &Path, source: &ReadSource<'_>) -> Result<Self> {
        let mut modules = Self {
            modules: Vec::new(),
        };
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        let items = parse(root, source)?;
        modules.add(root.to_owned(), folder, None, items, source)?;
        Ok(modules)
    }

    /// Adds a module and those inside it; `folder` holds the files of its children.
    fn add(
        &mut self,
        file: PathBuf,
        folder: PathBuf,
        parent: Option<usize>,
        items: Vec<Item>,
        source: &ReadSource<'_>,
    ) -> Result<usize> {
        let module_idx = self.modules.len();
        self.modules.push(Module {
            file: file.clone(),
            parent,
            children: HashMap::new(),
            defined: Vec::new(),
            imports: Vec::new(),
            items: Vec::new(),
        });
        for item in items {
            if is_for_tests(attributes(&item)) {
                continue;
            }
            match item {
                Item::Mod(declared) => {
                    let name = declared.ident.to_string();
                    let child = self.add_child(module_idx, &file, &folder, declared, source)?;
                    let children = &mut self.modules[module_idx].children;
                    children.entry(name).or_default().push(child);
                }
                Item::Use(declared) => {
                    let is_handed_on = !matches!(declared.vis, Visibility::Inherited);
                    let imports = &mut self.modules[module_idx].imports;
                    read_use(&declared.tree, &mut Vec::new(), is_handed_on, imports);
                }
                item => {
                    let module = &mut self.modules[module_idx];
                    module.defined.extend(defined_name(&item));
                    let mut inner = InnerImports(&mut module.imports);
                    syn::visit::visit_item(&mut inner, &item);
                    module.items.push(item);
                }
            }
        }
        Ok(module_idx)
    }

    fn add_child(
        &mut self,
        parent: usize,
        file: &Path,
        folder: &Path,
        declared: ItemMod,
        source: &ReadSource<'_>,
    ) -> Result<usize> {
        let name = declared.ident.to_string();
        if let Some((_, items)) = declared.content {
            return self.add(
                file.to_owned(),
                folder.join(name),
                Some(parent),
                items,
                source,
            );
        }
        let places = match path_attribute(&declared.attrs) {
            Some(path) => vec![file.parent().unwrap_or(Path::new("")).join(path)],
            None => vec![
                folder.join(format!("{name}.rs")),
                folder.join(&name).join("mod.rs"),
            ],
        };
        let child_file = places
            .iter()
            .find(|place| source(place).is_some())
            .with_context(|| format!("{}: no file for module {name}", file.display()))?
            .clone();
        // A `mod.rs`, and a file that is named by a path, has its children beside it.
        let beside = child_file.parent().unwrap_or(Path::new("")).to_owned();
        let child_folder = match child_file.file_stem() {
            Some(stem) if stem != "mod" && path_attribute(&declared.attrs).is_none() => {
                beside.join(stem)
            }
            _ => beside,
        };
        let items = parse(&child_file, source)?;
        self.add(child_file, child_folder, Some(parent), items, source)
    }
}

fn parse(file: &Path, source: &ReadSource<'_>) -> Result<Vec<Item>> {
    let text = source(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parsed = syn::parse_file(&text).with_context(|| file.display().to_string())?;
    Ok(parsed.items)
}

/// Whether one of the attributes is `#[cfg(test)]`, alone or among others that must hold too.
pub fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        let condition = list.tokens.to_string().replace(' ', "");
        let is_cfg = list.path.is_ident("cfg");
        is_cfg
            && (condition == "test" || condition == "doctest" || condition.starts_with("all(test,"))
    })
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        if !pair.path.is_ident("path") {
            return None;
        }
        match &pair.value {
            syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(text),
                ..
            }) => Some(text.value()),
            _ => None,
        }
    })
}

/// The attributes of an item, or none for kinds that declare no name.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn defined_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// Adds the names of a `use` tree; `path` is what stands before it.
fn read_use(tree: &UseTree, path: &mut Vec<String>, is_handed_on: bool, imports: &mut Vec<Import>) {
    let mut add = |path: &[String], last: Option<String>, name: Option<String>| {
        let mut path = path.to_vec();
        // `use a::{self}` is `use a`.
        path.extend(last.filter(|last| last != "self" || path.is_empty()));
        let name = name.map(|name| match name.as_str() {
            "self" => path.last().cloned().unwrap_or_default(),
            _ => name,
        });
        imports.push(Import {
            path,
            name,
            is_handed_on,
        });
    };
    match tree {
        UseTree::Path(step) => {
            path.push(step.ident.to_string());
            read_use(&step.tree, path, is_handed_on, imports);
            path.pop();
        }
        UseTree::Name(leaf) => {
            let name = leaf.ident.to_string();
            add(path, Some(name.clone()), Some(name));
        }
        UseTree::Rename(leaf) => {
            let name = leaf.rename.to_string();
            add(path, Some(leaf.ident.to_string()), Some(name));
        }
        UseTree::Glob(_) => add(path, None, None),
        UseTree::Group(group) => {
            for tree in &group.items {
                read_use(tree, path, is_handed_on, imports);
            }
        }
    }
}

/// Collects the `use` declarations inside functions.
struct InnerImports<'a>(&'a mut Vec<Import>);

impl<'ast> syn::visit::Visit<'ast> for InnerImports<'_> {
    fn visit_item_use(&mut self, declared: &'ast syn::ItemUse) {
        read_use(&declared.tree, &mut Vec::new(), false, self.0);
    }
}
