//! What a person reads: a line for each step of the network, with a bar, and what all of them come to.

/// Characters of the longest bar.
const BAR: f64 = 24.0;

/// A step of the network and how long it took.
pub(crate) struct Row {
    pub(crate) name: String,
    /// Channels, height and width of what it makes.
    pub(crate) makes: String,
    /// Of each part of the report.
    pub(crate) seconds: Vec<f64>,
    /// Operations of each product; `None` where a step isn't a convolution.
    pub(crate) flops: Option<f64>,
    pub(crate) schedule: Option<String>,
}

impl Row {
    pub(crate) fn new(
        name: &str,
        [channels, height, width]: [usize; 3],
        seconds: Vec<f64>,
        flops: Option<f64>,
        schedule: Option<String>,
    ) -> Self {
        let makes = format!("{channels}x{height}x{width}");
        Self { name: name.to_owned(), makes, seconds, flops, schedule }
    }

    pub(crate) fn total(&self) -> f64 {
        self.seconds.iter().sum()
    }

    /// The parts of the report that are products: all but the last of several.
    fn products(&self) -> &[f64] {
        match self.seconds.len() {
            0 | 1 => &self.seconds,
            parts => &self.seconds[..parts - 1],
        }
    }

    /// Operations of all products, and their seconds. A gradient that isn't computed takes none.
    fn work(&self) -> Option<[f64; 2]> {
        let flops = self.flops?;
        let done: Vec<f64> = self.products().iter().copied().filter(|&s| s > 0.0).collect();
        Some([flops * done.len() as f64, done.iter().sum()])
    }

    /// Operations a second of all products.
    pub(crate) fn speed(&self) -> Option<f64> {
        self.work().map(|[flops, seconds]| flops / seconds)
    }
}

/// What the processor can reach: operations a second, and by which instructions.
pub(crate) struct Peak {
    pub(crate) name: &'static str,
    pub(crate) speed: f64,
}

/// The table of a run.
pub(crate) struct Report {
    pub(crate) title: String,
    /// What the seconds of a row are.
    pub(crate) parts: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
    pub(crate) peak: Option<Peak>,
    /// Lines below the table.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Seconds of all steps.
    pub(crate) fn total(&self) -> f64 {
        self.rows.iter().map(Row::total).sum()
    }

    /// Operations a second, with the time of what isn't a convolution.
    pub(crate) fn speed(&self) -> f64 {
        let flops: f64 = self.rows.iter().filter_map(Row::work).map(|[flops, _]| flops).sum();
        flops / self.total()
    }

    /// A speed as a share of the peak, in per cent; nothing where the peak isn't known.
    pub(crate) fn share(&self, speed: f64) -> String {
        self.peak
            .as_ref()
            .map_or_else(String::new, |peak| format!("{:.0} %", 100.0 * speed / peak.speed))
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        let longest = self.rows.iter().map(Row::total).fold(0.0, f64::max);
        print!("{:<14}{:>14}{:>9}", "layer", "makes", "MFLOP");
        for part in &self.parts {
            print!("{:>13}", if self.parts.len() == 1 { "ms" } else { part });
        }
        println!("{:>9}{:>7}", "GFLOP/s", "peak");
        for row in &self.rows {
            let flops = row.flops.map_or_else(|| "-".to_owned(), |f| format!("{:.1}", f / 1e6));
            print!("{:<14}{:>14}{flops:>9}", row.name, row.makes);
            row.seconds.iter().for_each(|seconds| print!("{:>13.3}", seconds * 1e3));
            let speed = row.speed();
            let shown = speed.map_or_else(|| "-".to_owned(), |speed| format!("{:.1}", speed / 1e9));
            print!("{shown:>9}{:>7}", speed.map_or_else(String::new, |speed| self.share(speed)));
            print!("  {}", "█".repeat((BAR * row.total() / longest).round() as usize));
            println!("{}", row.schedule.as_ref().map_or_else(String::new, |s| format!("  {s}")));
        }
        println!();
        if self.parts.len() > 1 {
            println!(
                "The parts are in ms; of the products alone are GFLOP/s and the share of the peak."
            );
        }
        if let Some(Peak { name, speed }) = self.peak {
            println!(
                "FMA peak {:.0} GFLOP/s ({name}). Products with padding count: \
                 with much of it a layer can exceed the peak.",
                speed / 1e9
            );
        }
        self.notes.iter().for_each(|note| println!("{note}"));
        let (total, speed) = (self.total(), self.speed());
        let share = self.share(speed);
        println!("total {:.3} ms, {:.1} GFLOP/s {share}", total * 1e3, speed / 1e9);
    }
}
