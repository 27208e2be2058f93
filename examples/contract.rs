//! Writes the wire contract for other languages into a folder: JSON Schemas and an AsyncAPI document.
//!
//! ```sh
//! cargo run -p examples --example contract -- tests/golden/schema
//! ```

use std::{
    env, fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};
use stratt_event_bridge::{EventType, schema};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(
        env::args_os().nth(1).ok_or("which folder? cargo run -p examples --example contract -- DIR")?,
    );
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
