//! Schedules as serde reads and writes them: the line of text that they are printed as.

use super::schedule::Schedule;
use core::fmt;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Line;
        impl Visitor<'_> for Line {
            type Value = Schedule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a schedule as it is printed")
            }

            fn visit_str<E: Error>(self, line: &str) -> Result<Schedule, E> {
                line.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Line)
    }
}
