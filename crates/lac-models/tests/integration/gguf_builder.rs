//! Writes GGUF files, right ones and wrong ones.

use std::path::Path;

/// A file in the making. Its parts may say anything.
#[derive(Clone)]
pub struct GgufBuilder {
    pub magic: [u8; 4],
    pub version: u32,
    pub alignment: usize,
    /// Keys with the numbers of their types and the bytes of their values.
    pub values: Vec<(String, u32, Vec<u8>)>,
    pub tensors: Vec<TensorPart>,
    /// What the header announces in place of the number of keys and of tensors.
    pub n_values: Option<u64>,
    pub n_tensors: Option<u64>,
}

#[derive(Clone)]
pub struct TensorPart {
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<u64>,
    pub ggml_type: u32,
    pub bytes: Vec<u8>,
    /// What the header says in place of where the bytes stand.
    pub offset: Option<u64>,
}

pub const F32: u32 = 0;

impl Default for GgufBuilder {
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            alignment: 32,
            values: Vec::new(),
            tensors: Vec::new(),
            n_values: None,
            n_tensors: None,
        }
    }
}

pub fn text_bytes(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn array(number: u32, count: usize, values: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((count as u64).to_le_bytes());
    bytes.extend(values.flatten());
    bytes
}

impl GgufBuilder {
    /// Sets a key, in the place of an earlier value.
    pub fn value(mut self, key: &str, number: u32, bytes: Vec<u8>) -> Self {
        self.values.retain(|(other, ..)| other != key);
        self.values.push((key.to_owned(), number, bytes));
        self
    }

    pub fn u32(self, key: &str, value: u32) -> Self {
        self.value(key, 4, value.to_le_bytes().to_vec())
    }

    pub fn i32(self, key: &str, value: i32) -> Self {
        self.value(key, 5, value.to_le_bytes().to_vec())
    }

    pub fn f32(self, key: &str, value: f32) -> Self {
        self.value(key, 6, value.to_le_bytes().to_vec())
    }

    pub fn flag(self, key: &str, value: bool) -> Self {
        self.value(key, 7, vec![value.into()])
    }

    pub fn text(self, key: &str, value: &str) -> Self {
        self.value(key, 8, text_bytes(value))
    }

    pub fn texts<T: AsRef<str>>(self, key: &str, values: &[T]) -> Self {
        let texts = values.iter().map(|text| text_bytes(text.as_ref()));
        self.value(key, 9, array(8, values.len(), texts))
    }

    pub fn i32s(self, key: &str, values: &[i32]) -> Self {
        let numbers = values.iter().map(|value| value.to_le_bytes().to_vec());
        self.value(key, 9, array(5, values.len(), numbers))
    }

    pub fn flags(self, key: &str, values: &[bool]) -> Self {
        let flags = values.iter().map(|&value| vec![value.into()]);
        self.value(key, 9, array(7, values.len(), flags))
    }

    pub fn f32s(self, key: &str, values: &[f32]) -> Self {
        let numbers = values.iter().map(|value| value.to_le_bytes().to_vec());
        self.value(key, 9, array(6, values.len(), numbers))
    }

    pub fn without(mut self, key: &str) -> Self {
        self.values.retain(|(other, ..)| other != key);
        self
    }

    pub fn tensor(mut self, name: &str, shape: &[usize], ggml_type: u32, bytes: Vec<u8>) -> Self {
        self.tensors.push(TensorPart {
            name: name.to_owned(),
            shape: shape.iter().map(|&size| size as u64).collect(),
            ggml_type,
            bytes,
            offset: None,
        });
        self
    }

    pub fn f32_tensor(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.tensor(name, shape, F32, bytes.collect())
    }

    /// Changes a tensor's entry.
    pub fn entry(mut self, name: &str, change: impl FnOnce(&mut TensorPart)) -> Self {
        let mut tensors = self.tensors.iter_mut();
        change(tensors.find(|tensor| tensor.name == name).unwrap());
        self
    }

    pub fn build(&self) -> Vec<u8> {
        let mut file = self.magic.to_vec();
        file.extend(self.version.to_le_bytes());
        let n_tensors = self.n_tensors.unwrap_or(self.tensors.len() as u64);
        file.extend(n_tensors.to_le_bytes());
        let n_values = self.n_values.unwrap_or(self.values.len() as u64);
        file.extend(n_values.to_le_bytes());
        for (key, number, bytes) in &self.values {
            file.extend(text_bytes(key));
            file.extend(number.to_le_bytes());
            file.extend(bytes);
        }
        let mut data: Vec<u8> = Vec::new();
        for tensor in &self.tensors {
            file.extend(text_bytes(&tensor.name));
            file.extend((tensor.shape.len() as u32).to_le_bytes());
            for size in tensor.shape.iter().rev() {
                file.extend(size.to_le_bytes());
            }
            file.extend(tensor.ggml_type.to_le_bytes());
            let offset = tensor.offset.unwrap_or(data.len() as u64);
            file.extend(offset.to_le_bytes());
            data.extend(&tensor.bytes);
            data.resize(data.len().next_multiple_of(self.alignment), 0);
        }
        if !self.tensors.is_empty() {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
        }
        file.extend(data);
        file
    }

    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.build()).unwrap();
    }
}

/// A Llama of one layer with a byte-level vocabulary of sixteen tokens.
pub fn small_llama() -> GgufBuilder {
    let tokens: Vec<String> = ('a'..='p').map(String::from).collect();
    let kinds = [vec![3, 3], vec![1; 14]].concat();
    let mut builder = GgufBuilder::default()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", 32)
        .u32("llama.feed_forward_length", 32)
        .u32("llama.attention.head_count", 4)
        .u32("llama.attention.head_count_kv", 2)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &kinds)
        .texts::<&str>("tokenizer.ggml.merges", &[])
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 1);
    for (name, shape) in [
        ("token_embd.weight", &[16, 32][..]),
        ("blk.0.attn_norm.weight", &[32]),
        ("blk.0.attn_q.weight", &[32, 32]),
        ("blk.0.attn_k.weight", &[16, 32]),
        ("blk.0.attn_v.weight", &[16, 32]),
        ("blk.0.attn_output.weight", &[32, 32]),
        ("blk.0.ffn_norm.weight", &[32]),
        ("blk.0.ffn_gate.weight", &[32, 32]),
        ("blk.0.ffn_up.weight", &[32, 32]),
        ("blk.0.ffn_down.weight", &[32, 32]),
        ("output_norm.weight", &[32]),
    ] {
        let n_values = shape.iter().product::<usize>();
        builder = builder.f32_tensor(name, shape, &vec![0.125; n_values]);
    }
    builder
}
