//! The files of a report: the page, the numbers as JSON, the pictures.

use std::path::{Path, PathBuf};

use lac_files::FolderLock;
use serde::Serialize;

use super::content::TraceReport;
use super::{page, pictures};
use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use crate::statistics::{Agreement, Summary};

impl TraceReport {
    /// Writes the page, self-contained: it works offline and loads nothing.
    ///
    /// # Errors
    /// What the system reports.
    pub fn write_page(&self, path: &Path) -> Result<()> {
        let page = page::render(self);
        write_atomically(path, |file| file.write_all(page.as_bytes()))
    }

    /// Writes the numbers: one object per trace, and the agreement of each pair.
    ///
    /// # Errors
    /// What the system reports.
    pub fn write_statistics(&self, path: &Path) -> Result<()> {
        #[derive(Serialize)]
        struct Json<'a> {
            traces: Vec<&'a Summary>,
            agreements: Vec<PairJson<'a>>,
        }
        #[derive(Serialize)]
        struct PairJson<'a> {
            left: usize,
            right: usize,
            #[serde(flatten)]
            agreement: &'a Agreement,
        }
        let json = Json {
            traces: self.traces.iter().map(|trace| &trace.summary).collect(),
            agreements: self
                .pairs
                .iter()
                .map(|pair| PairJson {
                    left: pair.left,
                    right: pair.right,
                    agreement: &pair.agreement,
                })
                .collect(),
        };
        write_atomically(path, |file| {
            serde_json::to_writer_pretty(&mut *file, &json)?;
            writeln!(file)
        })
    }

    /// Writes everything into a folder, which is made if need be: `report.html`,
    /// `statistics.json`, and the pictures. Returns the files written.
    ///
    /// # Errors
    /// What the system and the drawing library report; each file is whole or as it was. A folder that another
    /// process writes a report into is refused.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let _only_writer = FolderLock::take(folder).map_err(Error::io("write into", folder))?;
        let page = folder.join("report.html");
        self.write_page(&page)?;
        let numbers = folder.join("statistics.json");
        self.write_statistics(&numbers)?;
        let mut files = vec![page, numbers];
        files.extend(pictures::write(self, folder)?);
        Ok(files)
    }
}
