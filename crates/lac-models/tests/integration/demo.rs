//! The small trained model and prompts about its world.

use burn::tensor::Device;
use lac_models::{
    AddSpecialTokens, ChatMessage, ChatOptions, Decoder, ModelFolder, Tokenizer, WeightDtype,
};
use tempfile::TempDir;

pub struct Demo {
    pub folder: ModelFolder,
    pub model: Decoder,
    pub tokenizer: Tokenizer,
    _unpacked: TempDir,
}

impl Demo {
    pub fn load(device: &Device) -> Self {
        let unpacked = TempDir::new().unwrap();
        lac_demo::unpack(lac_demo::model_files(), unpacked.path()).unwrap();
        let folder = ModelFolder::open(unpacked.path()).unwrap();
        Self {
            model: folder.load(WeightDtype::F32, device, &mut |_| {}).unwrap(),
            tokenizer: folder.tokenizer().unwrap(),
            folder,
            _unpacked: unpacked,
        }
    }

    /// Prompts of three kinds in turn: questions in the chat template, requests to tell about
    /// somebody, and stories to be continued.
    pub fn prompts(&self, n_prompts: usize) -> Vec<Vec<u32>> {
        let choices = lac_demo::choices().unwrap();
        let stories = lac_demo::yes_no_questions().unwrap();
        (0..n_prompts)
            .map(|idx| {
                let story = &stories[(7 * idx) % stories.len()];
                match idx % 3 {
                    0 => self.chat(&choices[(11 * idx) % choices.len()].prompt()),
                    1 => {
                        let name = story.passage.split_whitespace().next().unwrap();
                        self.chat(&format!("Tell me about {name}."))
                    }
                    _ => self.raw(&story.passage),
                }
            })
            .collect()
    }

    fn chat(&self, message: &str) -> Vec<u32> {
        let messages = [ChatMessage::new("user", message)];
        let options = ChatOptions::default();
        let text = self.tokenizer.render_chat(&messages, &options).unwrap();
        let special = AddSpecialTokens::Never;
        self.tokenizer.encode(&text, special).unwrap()
    }

    fn raw(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, AddSpecialTokens::Once).unwrap()
    }
}
