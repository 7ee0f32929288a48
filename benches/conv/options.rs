//! What stands behind `cargo bench --`.

/// Which benches run, and whether they are timed.
pub(crate) struct Options {
    /// Parts of names. A bench runs if its name has one of them, or if there are none.
    words: Vec<String>,
    /// Each once, and nothing measured: `--test`.
    pub(crate) once: bool,
}

impl Options {
    /// From the command line.
    pub(crate) fn read() -> Self {
        let mut options = Self { words: Vec::new(), once: false };
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--test" => options.once = true,
                // What cargo adds by itself.
                "--bench" => {}
                flag if flag.starts_with('-') => {
                    eprintln!("{flag} isn't known here: there is --test, and parts of names");
                    std::process::exit(2);
                }
                word => options.words.push(word.to_owned()),
            }
        }
        options
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}
