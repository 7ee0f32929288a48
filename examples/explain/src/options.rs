//! The command line: which layer, in which form, and what is too large to be printed.

use crate::svg::Figure;
use clap::{Parser, ValueEnum};
use im2col::{MAX_AXES, Params, Shape};
use std::fmt;
use std::str::FromStr;

/// Explains backpropagation through a small convolution, from the library's own index tables.
#[derive(Parser, Debug, Clone)]
#[command(name = "explain")]
pub(crate) struct Args {
    /// How to explain it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Which picture, with --format svg
    #[arg(long, value_enum, default_value_t = Figure::Overview)]
    pub(crate) figure: Figure,
    /// Only this section, with --format text or markdown: layer, dense, forward, chain, weights, pixels,
    /// cols, grad_weight, grad_input
    #[arg(long)]
    pub(crate) section: Option<String>,
    /// Spatial size of the input: 3x3, or 5 for a layer with one axis, or 2x3x3
    #[arg(long, default_value = "3x3", value_name = "HxW")]
    pub(crate) size: Sizes,
    /// Size of the filter; like all that follow, one number for all axes or one for each
    #[arg(long, default_value = "2", value_name = "RxS")]
    pub(crate) kernel: Sizes,
    /// Input elements between neighbouring outputs
    #[arg(long, default_value = "1")]
    pub(crate) stride: Sizes,
    /// Zeros on both sides of the input
    #[arg(long, default_value = "0")]
    pub(crate) padding: Sizes,
    /// Input elements between neighbouring taps; 1 is dense
    #[arg(long, default_value = "1")]
    pub(crate) dilation: Sizes,
    /// Groups of channels that don't see each other
    #[arg(long, default_value_t = 1)]
    pub(crate) groups: usize,
    /// Channels of the input [default: the groups]
    #[arg(long)]
    pub(crate) channels: Option<usize>,
    /// Channels of the output, each with a filter of its own [default: the groups]
    #[arg(long)]
    pub(crate) out_channels: Option<usize>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Markdown,
    Svg,
    Html,
}

/// `3x3`: one number, or one for each axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sizes(Vec<usize>);

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
        match sizes {
            Ok(sizes) if sizes.len() <= MAX_AXES => Ok(Self(sizes)),
            _ => Err(format!("one to {MAX_AXES} whole numbers joined by x, as in 3x3")),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&sizes.join("x"))
    }
}

/// The most elements that are printed.
const MOST_INPUTS: usize = 64;
const MOST_WEIGHTS: usize = 48;
const MOST_OUTPUTS: usize = 64;
/// The most products: what the sums of one table have together.
const MOST_TERMS: usize = 640;

impl Args {
    /// The layer asked for.
    ///
    /// # Errors
    /// A sentence that says what is wrong, or what is too large and what would fit.
    pub(crate) fn params(&self) -> Result<Params, String> {
        let params = self.unchecked()?;
        let shape = Shape::new(params).map_err(|error| error.to_string())?;
        too_large(&shape).map_or(Ok(params), |reason| {
            Err(format!("{reason}; {} would fit", Flags(&fitting(params), &params)))
        })
    }

    fn unchecked(&self) -> Result<Params, String> {
        let axes = self.size.0.len();
        let spread = |name: &str, sizes: &Sizes, unused: usize| {
            let mut spread = [unused; MAX_AXES];
            match sizes.0[..] {
                [one] => spread[..axes].fill(one),
                ref each if each.len() == axes => spread[..axes].copy_from_slice(each),
                ref each => {
                    let found = each.len();
                    return Err(format!(
                        "--{name} {sizes} has {found} axes, --size {} has {axes}: give one number for all axes, or {axes}",
                        self.size
                    ));
                }
            }
            Ok(spread)
        };
        let padding = spread("padding", &self.padding, 0)?;
        Ok(Params {
            axes,
            in_channels: self.channels.unwrap_or(self.groups),
            out_channels: self.out_channels.unwrap_or(self.groups),
            groups: self.groups,
            input: spread("size", &self.size, 1)?,
            kernel: spread("kernel", &self.kernel, 1)?,
            stride: spread("stride", &self.stride, 1)?,
            dilation: spread("dilation", &self.dilation, 1)?,
            pad_begin: padding,
            pad_end: padding,
            ..Params::default()
        })
    }
}

/// Why a layer is too large to be printed, if it is.
pub(crate) fn too_large(shape: &Shape) -> Option<String> {
    let terms = shape.output_len().saturating_mul(shape.patch_len());
    let limits = [
        ("inputs", shape.input_len(), MOST_INPUTS),
        ("weights", shape.weight_len(), MOST_WEIGHTS),
        ("outputs", shape.output_len(), MOST_OUTPUTS),
        ("products", terms, MOST_TERMS),
    ];
    let (what, found, most) = limits.into_iter().find(|(_, found, most)| found > most)?;
    Some(format!("too large to print: {found} {what}, at most {most} can be read"))
}

/// The layer most like `params` that can be printed: a smaller image, then fewer channels, then
/// less padding, then a smaller filter.
fn fitting(params: Params) -> Params {
    let Params { groups, in_channels, out_channels, .. } = params;
    let channels = [(groups, in_channels, out_channels), (groups, groups, groups), (1, 1, 1)];
    let largest =
        |sizes: &[usize; MAX_AXES]| sizes[..params.axes].iter().max().copied().unwrap_or(1);
    for kernel in (1..=largest(&params.kernel).min(MOST_WEIGHTS)).rev() {
        for padding in (0..=largest(&params.pad_begin).min(MOST_OUTPUTS)).rev() {
            for (groups, in_channels, out_channels) in channels {
                for size in (1..=largest(&params.input).min(MOST_INPUTS)).rev() {
                    let params = Params {
                        groups,
                        in_channels,
                        out_channels,
                        input: params.input.map(|n| n.min(size)),
                        kernel: params.kernel.map(|n| n.min(kernel)),
                        pad_begin: params.pad_begin.map(|n| n.min(padding)),
                        pad_end: params.pad_end.map(|n| n.min(padding)),
                        ..params
                    };
                    if Shape::new(params).is_ok_and(|shape| too_large(&shape).is_none()) {
                        return params;
                    }
                }
            }
        }
    }
    Params { axes: params.axes, ..Params::default() }
}

/// The flags that make the first layer, where they differ from those that make the second.
struct Flags<'a>(&'a Params, &'a Params);

impl fmt::Display for Flags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flags(new, old) = self;
        let mut flags = Vec::new();
        let sizes = [
            ("size", new.input, old.input),
            ("kernel", new.kernel, old.kernel),
            ("stride", new.stride, old.stride),
            ("padding", new.pad_begin, old.pad_begin),
            ("dilation", new.dilation, old.dilation),
        ];
        for (name, new_sizes, old_sizes) in sizes {
            if new_sizes != old_sizes {
                flags.push(format!("--{name} {}", Sizes(new_sizes[..new.axes].to_vec())));
            }
        }
        let counts = [
            ("groups", new.groups, old.groups),
            ("channels", new.in_channels, old.in_channels),
            ("out-channels", new.out_channels, old.out_channels),
        ];
        for (name, new_count, old_count) in counts {
            if new_count != old_count {
                flags.push(format!("--{name} {new_count}"));
            }
        }
        f.write_str(&flags.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(flags: &str) -> Result<Params, String> {
        let args = Args::try_parse_from(format!("explain {flags}").split_whitespace());
        args.map_err(|error| error.to_string())?.params()
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn without_flags_it_is_the_questions_layer() {
        let params = asked("").unwrap();
        assert_eq!((params.axes, params.input, params.kernel), (2, [3, 3, 1], [2, 2, 1]));
        assert_eq!((params.in_channels, params.out_channels, params.groups), (1, 1, 1));
    }

    #[test]
    fn flags_set_every_size() {
        let params = asked(
            "--size 5x3 --kernel 3x2 --stride 2 --padding 1x0 --dilation 1x2 --groups 2 --channels 4",
        );
        let expected = Params {
            groups: 2,
            in_channels: 4,
            out_channels: 2,
            input: [5, 3, 1],
            kernel: [3, 2, 1],
            stride: [2, 2, 1],
            dilation: [1, 2, 1],
            pad_begin: [1, 0, 0],
            pad_end: [1, 0, 0],
            ..Params::default()
        };
        assert_eq!(params, Ok(expected));
        assert_eq!(asked("--size 5 --kernel 3").unwrap().axes, 1);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_librarys_words() {
        let cases = [
            ("--kernel 4", "the padded input has 3"),
            ("--stride 0", "stride of axis 0 is 0"),
            ("--groups 2 --channels 3", "3 % 2 is not 0"),
            ("--size 3x3 --kernel 2x2x2", "--kernel 2x2x2 has 3 axes, --size 3x3 has 2"),
            ("--size 3x3x3x3", "one to 3 whole numbers"),
            ("--size 99999999999x99999999999", "too large"),
        ];
        for (flags, words) in cases {
            let error = asked(flags).expect_err(flags);
            assert!(error.contains(words), "{flags}: {error}");
        }
    }

    /// What the refusal offers is taken.
    #[test]
    fn what_is_too_large_is_refused_with_what_would_fit() {
        let cases = [
            "--size 200x200",
            "--size 9x8",
            "--size 8x8 --kernel 8 --padding 1000000",
            "--channels 100 --size 4",
            "--groups 60 --size 2",
            "--size 3 --kernel 2 --padding 200",
            "--size 10x10 --kernel 9 --out-channels 5",
            "--size 4x4x4 --kernel 2 --channels 2",
        ];
        for flags in cases {
            let error = asked(flags).expect_err(flags);
            let (_, offer) = error.split_once("; ").expect("an offer");
            let offer = offer.strip_suffix(" would fit").expect("an offer");
            // A later flag takes the place of an earlier one.
            let mut all: Vec<&str> = flags.split_whitespace().collect();
            let offered: Vec<&str> = offer.split_whitespace().collect();
            for pair in offered.chunks(2) {
                if let Some(at) = all.iter().position(|flag| *flag == pair[0]) {
                    all.drain(at..at + 2);
                }
            }
            all.extend(offered);
            assert!(asked(&all.join(" ")).is_ok(), "{flags}: {error}");
        }
    }
}
