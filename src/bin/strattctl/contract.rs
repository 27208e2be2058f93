//! Writes the wire contract for other languages into a folder: JSON Schemas and an AsyncAPI document.
//!
//! ```sh
//! strattctl contract tests/golden/schema
//! ```

use crate::failure::Failure;
use clap::Args;
use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};
use stratt_event_bridge::{EventType, schema};

#[derive(Debug, Args)]
pub(crate) struct ContractCommand {
    /// Folder to write to; created if it does not exist
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

pub(crate) fn write_to(folder: &Path) -> Result<(), Failure> {
    write_all(folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))
}

fn write_all(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    write(folder, "envelope", &schema::envelope())?;
    for event_type in EventType::ALL {
        write(folder, event_type.as_str(), &schema::payload(*event_type))?;
    }
    write(folder, "asyncapi", &schema::asyncapi())
}

fn write(folder: &Path, name: &str, document: &impl serde::Serialize) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(folder.join(format!("{name}.json")))?);
    serde_json::to_writer_pretty(&mut file, document)?;
    file.write_all(b"\n")?;
    file.flush()
}
