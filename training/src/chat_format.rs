//! The chat format: the special tokens, and the template that puts messages between them.

/// Ends a text.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Starts a message.
pub const START: &str = "<|im_start|>";
/// Ends a message.
pub const END: &str = "<|im_end|>";
/// Fills up shorter rows.
pub const PAD: &str = "<|pad|>";
/// All special tokens; their ids are their positions.
pub const SPECIAL: [&str; 4] = [END_OF_TEXT, START, END, PAD];

/// The chat template: every message between its marks, the role first.
pub const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
