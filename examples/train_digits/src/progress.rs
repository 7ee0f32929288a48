//! What one sees while it trains: a bar and a line for each epoch where standard error is a
//! terminal, and lines alone where it is a file or a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};

/// The bar of one training.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// A line for each epoch.
    lines: bool,
    terminal: bool,
}

impl Progress {
    /// For a training that sees `images` images in all its epochs.
    pub(crate) fn new(images: u64, name: String, lines: bool) -> Self {
        // Hidden by itself where standard error isn't a terminal.
        let bar = ProgressBar::with_draw_target(Some(images), ProgressDrawTarget::stderr());
        let template = "{prefix} [{bar:32}] {percent:>3} %  {msg}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name);
        Self { bar, lines, terminal: std::io::stderr().is_terminal() }
    }

    /// Says nothing.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self { bar: ProgressBar::hidden(), lines: false, terminal: false }
    }

    /// A step over some images is done.
    pub(crate) fn step(&self, images: usize) {
        self.bar.inc(images as u64);
    }

    /// An epoch is done.
    pub(crate) fn epoch(&self, epoch: usize, epochs: usize, loss: f64, speed: f64) {
        let message = format!("loss {loss:.4}  {speed:.0} images/s");
        if self.lines {
            let line = format!("epoch {epoch:>3}/{epochs}  {message}");
            if self.terminal {
                self.bar.println(line);
            } else {
                // A closed pipe is no reason to stop training.
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
        self.bar.set_message(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
