//! Writes the wire contract for other languages into a folder: JSON Schemas and an AsyncAPI document.
//!
//! ```sh
//! cargo run -p examples --example contract -- tests/golden/schema
//! ```

use clap::Parser;
use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};
use stratt_event_bridge::{EventType, schema};

/// Writes the wire contract for other languages: JSON Schemas and an `AsyncAPI` document.
#[derive(Debug, Parser)]
#[command(name = "contract")]
struct Arguments {
    /// Folder to write to; created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { folder } = Arguments::parse();
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    write(&folder, "envelope", &schema::envelope())?;
    for event_type in EventType::ALL {
        write(&folder, event_type.as_str(), &schema::payload(*event_type))?;
    }
    write(&folder, "asyncapi", &schema::asyncapi())?;
    Ok(())
}

fn write(folder: &Path, name: &str, document: &impl serde::Serialize) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(folder.join(format!("{name}.json")))?);
    serde_json::to_writer_pretty(&mut file, document)?;
    file.write_all(b"\n")?;
    file.flush()
}
