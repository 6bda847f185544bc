//! Keeps a second gatherd out of a state folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::fault::{stop, unopened};
use crate::model::{Fault, FaultKind};

const FILE: &str = "gatherd.lock";

/// A state folder held by this process. The kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    pub(super) fn take(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join(FILE);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = opened.map_err(|error| unopened("open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {
                note_holder(&mut file);
                Ok(Self { _file: file })
            }
            Err(TryLockError::WouldBlock) => Err(Fault::stop(FaultKind::Store, held(folder, &mut file))),
            Err(TryLockError::Error(error)) => Err(stop("lock", &path, error)),
        }
    }
}

/// Leaves the process id for the message of whoever comes second. Only a courtesy: a full disk must not keep
/// the holder out.
fn note_holder(file: &mut File) {
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = noted {
        log::debug!(error:%; "cannot note the process id in the lock file");
    }
}

fn held(folder: &Path, file: &mut File) -> String {
    let mut noted = String::new();
    let holder = match file.read_to_string(&mut noted).map(|_| noted.trim().parse::<u32>()) {
        Ok(Ok(process)) => format!("another gatherd, process {process},"),
        _ => "another gatherd".to_owned(),
    };
    format!(
        "cannot open the state folder `{}`: {holder} holds it; stop that one, or give this one a folder of its own \
         with `--state`",
        folder.display()
    )
}
