//! A model's files on their way into memory, chunk by chunk.

use crate::error::Error;

/// Files that come chunk by chunk, each announced with its name and size.
#[derive(Debug, Default)]
pub struct Files {
    done: Vec<(String, Vec<u8>)>,
    /// The file that comes at present, and the bytes that it should have.
    coming: Option<(String, Vec<u8>, u64)>,
}

impl Files {
    /// Announces the next file; the one before has to be whole.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is no room for it, [`Error::CutOff`] if the one before is not whole.
    pub fn begin(&mut self, name: &str, n_bytes: u64) -> Result<(), Error> {
        self.end_file()?;
        let no_room = || Error::Memory {
            what: name.to_owned(),
            n_bytes,
        };
        let room = usize::try_from(n_bytes).map_err(|_| no_room())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(room).map_err(|_| no_room())?;
        self.coming = Some((name.to_owned(), bytes, n_bytes));
        Ok(())
    }

    /// Takes the file's next bytes.
    ///
    /// # Errors
    /// [`Error::CutOff`] if there are more than were announced.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let Some((name, bytes, announced)) = &mut self.coming else {
            return Err(Error::Model("no file was announced".to_owned()));
        };
        let found = bytes.len() as u64 + chunk.len() as u64;
        if found > *announced {
            return Err(Error::CutOff {
                name: name.clone(),
                announced: *announced,
                found,
            });
        }
        bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), Error> {
        let Some((name, bytes, announced)) = self.coming.take() else {
            return Ok(());
        };
        let found = bytes.len() as u64;
        if found < announced {
            return Err(Error::CutOff {
                name,
                announced,
                found,
            });
        }
        self.done.push((name, bytes));
        Ok(())
    }

    /// Returns the files, whole.
    ///
    /// # Errors
    /// [`Error::CutOff`] if the last one is not.
    pub fn finish(mut self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.end_file()?;
        Ok(self.done)
    }
}
