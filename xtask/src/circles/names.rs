//! Which file defines a name that another one uses.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

use super::modules::{Import, Module, Modules, attributes, is_for_tests};

/// For each pair of files, the names that the first takes from the second.
pub type Ties = BTreeMap<(PathBuf, PathBuf), BTreeSet<String>>;

/// Finds what each file of a crate takes from its other files.
///
/// A `pub use` alone takes nothing: it hands a name on, and who uses the name is tied to the file
/// that defines it.
pub fn ties(modules: &Modules) -> Ties {
    let mut ties = Ties::new();
    for (module_idx, module) in modules.modules.iter().enumerate() {
        let mut used = UsedPaths(BTreeSet::new());
        for item in &module.items {
            used.visit_item(item);
        }
        let imported = module.imports.iter();
        let imported = imported.filter(|import| !import.is_handed_on && import.name.is_some());
        used.0.extend(imported.map(|import| import.path.clone()));
        for path in &used.0 {
            for (file, name) in definitions(modules, module_idx, path) {
                if file != module.file {
                    let pair = (module.file.clone(), file.to_owned());
                    ties.entry(pair).or_default().insert(name.to_owned());
                }
            }
        }
    }
    ties
}

/// The files that define what a path in a module means, with the name that is defined. None for
/// modules and for names of other crates.
fn definitions<'a>(
    modules: &'a Modules,
    module_idx: usize,
    path: &'a [String],
) -> Vec<(&'a Path, &'a str)> {
    let mut found = Found {
        modules,
        visited: HashSet::new(),
        definitions: Vec::new(),
    };
    found.follow(module_idx, path, true);
    found.definitions
}

struct Found<'a> {
    modules: &'a Modules,
    /// Names that were looked up, so that `use` declarations that name each other end.
    visited: HashSet<(usize, Vec<String>)>,
    definitions: Vec<(&'a Path, &'a str)>,
}

impl<'a> Found<'a> {
    /// Follows a path from a module on; `is_first` while no segment of it was taken yet.
    fn follow(&mut self, module_idx: usize, path: &'a [String], is_first: bool) {
        let Some((segment, rest)) = path.split_first() else {
            return;
        };
        match segment.as_str() {
            "crate" if is_first => return self.follow(0, rest, false),
            "self" if is_first => return self.follow(module_idx, rest, false),
            "super" => {
                if let Some(parent) = self.module(module_idx).parent {
                    self.follow(parent, rest, false);
                }
                return;
            }
            _ => {}
        }
        if !self.visited.insert((module_idx, path.to_vec())) {
            return;
        }
        let module = self.module(module_idx);
        let is_defined_here = module.defined.contains(segment);
        if is_defined_here {
            self.definitions.push((&module.file, segment));
        }
        if !(is_defined_here && rest.is_empty()) {
            for &child in module.children.get(segment).into_iter().flatten() {
                self.follow(child, rest, false);
            }
        }
        if is_defined_here {
            return;
        }
        for import in &module.imports {
            match &import.name {
                Some(name) if name == segment => self.follow_import(module_idx, import, rest),
                Some(_) => {}
                None => self.follow_import(module_idx, import, path),
            }
        }
    }

    /// Follows what an import names, and then the rest of the path that begins with it.
    fn follow_import(&mut self, module_idx: usize, import: &'a Import, rest: &'a [String]) {
        let before = self.definitions.len();
        let targets = self.modules_of(module_idx, &import.path);
        for &target in &targets {
            self.follow(target, rest, false);
        }
        let is_item = import.name.is_some() && self.definitions.len() == before;
        if is_item {
            self.follow(module_idx, &import.path, true);
        }
    }

    /// The modules that a path names.
    fn modules_of(&self, module_idx: usize, path: &[String]) -> Vec<usize> {
        let mut current = vec![module_idx];
        for (segment_idx, segment) in path.iter().enumerate() {
            current = match segment.as_str() {
                "crate" if segment_idx == 0 => vec![0],
                "self" if segment_idx == 0 => current,
                "super" => current
                    .iter()
                    .filter_map(|&idx| self.module(idx).parent)
                    .collect(),
                _ => current
                    .iter()
                    .flat_map(|&idx| self.child_modules(idx, segment))
                    .collect(),
            };
        }
        current
    }

    /// The modules known under a name in a module: declared there, or brought in by a `use`.
    fn child_modules(&self, module_idx: usize, name: &str) -> Vec<usize> {
        let module = self.module(module_idx);
        if let Some(children) = module.children.get(name) {
            return children.clone();
        }
        let mut found = Vec::new();
        for import in &module.imports {
            let is_own = import.path.first().is_some_and(|first| first == name);
            if import.name.as_deref() == Some(name) && !is_own {
                found.extend(self.modules_of(module_idx, &import.path));
            }
        }
        found
    }

    fn module(&self, module_idx: usize) -> &'a Module {
        &self.modules.modules[module_idx]
    }
}

/// Collects all paths that stand in an item, those in calls of macros included.
struct UsedPaths(BTreeSet<Vec<String>>);

impl<'ast> Visit<'ast> for UsedPaths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_for_tests(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    // They were read with the module.
    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let segments = path.segments.iter();
            self.0
                .insert(segments.map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.add_tokens(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
        }
    }
}

impl UsedPaths {
    /// Adds the paths in tokens that syn leaves unparsed. Names after a dot are fields or methods.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        // How many colons were read since the last name.
        let mut n_colons = 0;
        let mut is_after_dot = false;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if n_colons != 2 {
                        self.0.insert(std::mem::take(&mut path));
                    }
                    if !is_after_dot {
                        path.push(name.to_string());
                    }
                    (n_colons, is_after_dot) = (0, false);
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => n_colons += 1,
                other => {
                    self.0.insert(std::mem::take(&mut path));
                    n_colons = 0;
                    is_after_dot =
                        matches!(&other, TokenTree::Punct(mark) if mark.as_char() == '.');
                    if let TokenTree::Group(group) = other {
                        self.add_tokens(group.stream());
                    }
                }
            }
        }
        self.0.insert(path);
    }
}
