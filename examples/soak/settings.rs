//! What the command line says.

use crate::Failure;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub minutes: u32,
    pub seed: u64,
    /// Whether the consumers keep the order of each unit.
    pub is_ordered: bool,
}

impl Settings {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut settings = Self { minutes: 1, seed: fastrand::u64(..), is_ordered: false };
        while let Some(word) = words.next() {
            let mut number = || words.next().ok_or_else(|| format!("{word} needs a number"));
            match word.as_str() {
                "--minutes" => settings.minutes = number()?.parse()?,
                "--seed" => settings.seed = number()?.parse()?,
                "--ordered" => settings.is_ordered = true,
                _ => return Err(format!("{word} is not known: --minutes N --seed S --ordered").into()),
            }
        }
        Ok(settings)
    }

    pub fn length(&self) -> Duration {
        Duration::from_secs(60) * self.minutes
    }
}
