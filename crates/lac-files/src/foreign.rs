//! Recognises files that hold something else than their name says, by their first bytes.

use std::io::{self, Read, Seek};

/// What a file should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileForm {
    /// Any text, also one that begins as a page or a message would: a template, prompts.
    FreeText,
    /// JSON, a table, or numbers.
    Data,
    /// A model in GGUF.
    Gguf,
}

/// Bytes of a file that [`recognise`] looks at.
const HEAD_BYTES: usize = 512;

/// Checks the first bytes of a file, and goes back to its start.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`], with the text of [`recognise`]; those of reading.
pub fn check_form(file: &mut (impl Read + Seek), form: FileForm) -> io::Result<()> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.by_ref()
        .take(HEAD_BYTES as u64)
        .read_to_end(&mut head)?;
    file.rewind()?;
    match recognise(&head, form) {
        None => Ok(()),
        Some(text) => Err(io::Error::new(io::ErrorKind::InvalidData, text)),
    }
}

/// Returns what a file is, and what to do, where its first bytes show that it is not what it should be: a pointer of
/// git-lfs, a page or a message that was saved in its place, an archive, a model in another form.
pub fn recognise(head: &[u8], form: FileForm) -> Option<&'static str> {
    pointer(head).or_else(|| match form {
        FileForm::FreeText => None,
        FileForm::Gguf if head.starts_with(GGUF) => None,
        FileForm::Data | FileForm::Gguf => message(head).or_else(|| binary(head)),
    })
}

/// The first bytes of a GGUF file.
const GGUF: &[u8] = b"GGUF";

fn pointer(head: &[u8]) -> Option<&'static str> {
    const STARTS: [&[u8]; 2] = [
        b"version https://git-lfs.github.com/",
        b"version https://hawser.github.com/",
    ];
    STARTS.iter().any(|start| head.starts_with(start)).then_some(
        "it is a git-lfs pointer and not the file itself: run `git lfs pull` in its folder, or download the file",
    )
}

fn message(head: &[u8]) -> Option<&'static str> {
    const PAGES: [&str; 3] = ["<!doctype html", "<html", "<head"];
    const XML: [&str; 2] = ["<?xml", "<error>"];
    const REFUSALS: [&str; 6] = [
        "entry not found",
        "repository not found",
        "invalid username or password",
        "access to model",
        "access to dataset",
        "invalid credentials in authorization header",
    ];
    let start = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let start = start.trim_ascii_start();
    let start = start[..start.len().min(64)].to_ascii_lowercase();
    let is_error = start.strip_prefix(b"{").is_some_and(|object| {
        let key = object.trim_ascii_start().strip_prefix(b"\"error\"");
        key.is_some_and(|behind| behind.trim_ascii_start().starts_with(b":"))
    });
    let begins = |texts: &[&str]| texts.iter().any(|text| start.starts_with(text.as_bytes()));
    if begins(&PAGES) {
        return Some("it is an HTML page, of a login or an error perhaps: download the file again");
    }
    if begins(&XML) {
        return Some("it is an XML message, of an error perhaps: download the file again");
    }
    if is_error || begins(&REFUSALS) {
        return Some("it is the hub's answer that refused the download: download the file again");
    }
    None
}

/// Recognises forms of files by their first bytes.
pub(crate) fn binary(head: &[u8]) -> Option<&'static str> {
    // A safetensors file begins with the length of its header, and the header with a brace: a length may happen to
    // look like one of these.
    if head.get(8) == Some(&b'{') {
        return None;
    }
    const PICKLE: &str = "it is in Python's pickle form, which is not read: take safetensors files";
    const KINDS: [(&[u8], &str); 11] = [
        (
            GGUF,
            "it is a GGUF file: give it a name that ends with .gguf",
        ),
        (
            b"PK\x03\x04",
            "it is a zip archive, or PyTorch's pickle form, which is one: unpack it, or take safetensors files",
        ),
        (b"\x1f\x8b", "it is compressed with gzip: unpack it"),
        (b"\xfd7zXZ", "it is compressed with xz: unpack it"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: unpack it"),
        (b"7z\xbc\xaf", "it is a 7z archive: unpack it"),
        (b"\x80\x02", PICKLE),
        (b"\x80\x03", PICKLE),
        (b"\x80\x04", PICKLE),
        (b"\x80\x05", PICKLE),
        (
            b"\x89HDF",
            "it is an HDF5 file, as TensorFlow writes it, which is not read: take safetensors files",
        ),
    ];
    if let Some((_, text)) = KINDS.iter().find(|(start, _)| head.starts_with(start)) {
        return Some(text);
    }
    if head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY") {
        return Some("it is compressed with bzip2: unpack it");
    }
    let is_tar = head.get(257..262) == Some(b"ustar");
    is_tar.then_some("it is a tar archive: unpack it")
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const POINTER: &[u8] =
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";

    #[test]
    fn what_was_saved_in_the_place_of_a_file_is_recognised() {
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (head, part) in [
            (POINTER, "git lfs pull"),
            (b"\n <!DOCTYPE html><html>", "HTML page"),
            (b"\xef\xbb\xbf<html lang=\"en\">", "HTML page"),
            (
                b"<?xml version=\"1.0\"?><Error><Code>AccessDenied",
                "XML message",
            ),
            (b"Entry not found", "refused the download"),
            (b"Invalid username or password.", "refused the download"),
            (
                b"Access to model org/name is restricted",
                "refused the download",
            ),
            (
                b"{\"error\":\"Repository not found\"}",
                "refused the download",
            ),
            (b"{\n  \"error\" : \"gated\"}", "refused the download"),
            (b"GGUF\x03\0\0\0\x23\0\0\0", "GGUF"),
            (b"PK\x03\x04\x14\0", "zip archive"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"\x28\xb5\x2f\xfd\x04", "zstd"),
            (b"\xfd7zXZ\0", "xz"),
            (b"BZh91AY&SY\x12", "bzip2"),
            (b"\x80\x02\x8a\x0al\xfc", "pickle"),
            (b"\x80\x02}q\0", "pickle"),
            (b"\x89HDF\r\n", "HDF5"),
            (&tar, "tar archive"),
        ] {
            let what = recognise(head, FileForm::Data).unwrap_or_default();
            let text = String::from_utf8_lossy(head);
            assert!(what.contains(part), "{part:?} is not in {what:?}: {text}");
            let of_gguf = recognise(head, FileForm::Gguf);
            assert_eq!(of_gguf.is_none(), head.starts_with(GGUF), "{text}");
            let is_pointer = head == POINTER;
            assert_eq!(
                recognise(head, FileForm::FreeText).is_some(),
                is_pointer,
                "{text}"
            );
        }
    }

    #[test]
    fn what_a_file_should_hold_is_left_alone() {
        // A safetensors file whose header has 0x46554747 bytes, "GGUF" in little-endian, and one that begins as a page.
        let header = |len: &[u8; 8]| [&len[..], b"{\"a\":"].concat();
        for head in [
            b"".as_slice(),
            b"{\"model_type\": \"llama\"}",
            b"{\"errors\": 1}",
            b"question,answer\n",
            b"PAR1\x15\x04",
            &header(b"GGUF\0\0\0\0"),
            &header(b"PK\x03\x04\0\0\0\0"),
            &header(b"\x1f\x8b\0\0\0\0\0\0"),
            &header(b"@\0\0\0\0\0\0\0"),
        ] {
            assert_eq!(recognise(head, FileForm::Data), None, "{head:?}");
        }
    }

    #[test]
    fn a_file_is_checked_from_its_start_and_left_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, [POINTER, &[b'x'; 1000]].concat()).unwrap();
        let mut file = File::open(&path).unwrap();
        let error = check_form(&mut file, FileForm::FreeText).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        std::fs::write(&path, "{}").unwrap();
        let mut file = File::open(&path).unwrap();
        check_form(&mut file, FileForm::Data).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "{}");
    }
}
