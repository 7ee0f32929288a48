//! The environment variable `IM2COL_ISA`, which asks for a lower ISA.

use super::Isa;
use core::fmt;

/// What `IM2COL_ISA` says, read once; none if it isn't set, or empty.
#[cfg(feature = "std")]
pub(super) fn asked() -> Option<&'static str> {
    static ASKED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let read = || {
        let name = std::env::var_os("IM2COL_ISA").filter(|name| !name.is_empty())?;
        Some(name.to_string_lossy().into_owned())
    };
    ASKED.get_or_init(read).as_deref()
}

#[cfg(not(feature = "std"))]
pub(super) fn asked() -> Option<&'static str> {
    None
}

/// Says that `IM2COL_ISA` changes nothing, if that is so: no ISA has the name, or not on this machine.
pub(crate) fn explain(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match asked() {
        Some(name) if name.parse::<Isa>() != Ok(Isa::best()) => {
            write!(f, "IM2COL_ISA={name:?} changes nothing: this machine has")?;
            let mut isas = Isa::ALL.iter().filter(|isa| isa.is_available());
            isas.try_for_each(|isa| write!(f, " {isa}"))?;
            writeln!(f)
        }
        _ => Ok(()),
    }
}
