//! Recognises files that hold something else than their name says, by their first bytes.

/// Bytes of a file that [`recognise`] looks at.
pub(crate) const HEAD_BYTES: usize = 512;

/// Returns what a file is, and what to do, where its first bytes show that it is not what its name says.
pub(crate) fn recognise(head: &[u8], name: &str) -> Option<&'static str> {
    const POINTERS: [&[u8]; 2] = [
        b"version https://git-lfs.github.com/",
        b"version https://hawser.github.com/",
    ];
    if POINTERS.iter().any(|start| head.starts_with(start)) {
        return Some(
            "it is a git-lfs pointer and not the file itself: run `git lfs pull` in its folder",
        );
    }
    // A template may begin with any text.
    if name.ends_with(".jinja") {
        return None;
    }
    text(head).or_else(|| binary(head))
}

fn text(head: &[u8]) -> Option<&'static str> {
    const PAGES: [&str; 3] = ["<!doctype html", "<html", "<head"];
    const XML: [&str; 2] = ["<?xml", "<error>"];
    const REFUSALS: [&str; 7] = [
        "entry not found",
        "repository not found",
        "invalid username or password",
        "access to model",
        "access to dataset",
        "invalid credentials in authorization header",
        "{\"error\":",
    ];
    let start = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let start = start.trim_ascii_start();
    let start = start[..start.len().min(64)].to_ascii_lowercase();
    let begins = |texts: &[&str]| texts.iter().any(|text| start.starts_with(text.as_bytes()));
    if begins(&PAGES) {
        return Some("it is an HTML page, of a login or an error perhaps: download the file again");
    }
    if begins(&XML) {
        return Some("it is an XML message, of an error perhaps: download the file again");
    }
    if begins(&REFUSALS) {
        return Some("it is the hub's answer that refused the download: download the file again");
    }
    None
}

fn binary(head: &[u8]) -> Option<&'static str> {
    // A safetensors file begins with the length of its header, and the header with a brace: a length may happen to
    // look like one of these.
    if head.get(8) == Some(&b'{') {
        return None;
    }
    const KINDS: [(&[u8], &str); 9] = [
        (b"GGUF", "it is a GGUF file, which is not read yet"),
        (
            b"PK\x03\x04",
            "it is a zip archive, or PyTorch's pickle form, which is one: unpack it, or take safetensors files",
        ),
        (b"\x1f\x8b", "it is compressed with gzip: unpack it"),
        (b"BZh", "it is compressed with bzip2: unpack it"),
        (b"\xfd7zXZ", "it is compressed with xz: unpack it"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: unpack it"),
        (b"7z\xbc\xaf", "it is a 7z archive: unpack it"),
        (
            b"\x80\x02\x8a\x0a",
            "it is in PyTorch's pickle form, which is not read: take safetensors files",
        ),
        (
            b"\x89HDF",
            "it is an HDF5 file, as TensorFlow writes it, which is not read: take safetensors files",
        ),
    ];
    let kind = KINDS.iter().find(|(start, _)| head.starts_with(start));
    if let Some((_, text)) = kind {
        return Some(text);
    }
    let is_tar = head.get(257..262) == Some(b"ustar");
    is_tar.then_some("it is a tar archive: unpack it")
}
