//! The explanation in pictures.

mod canvas;
mod memory;
mod products;
mod windows;

use crate::document::summary;
use crate::layer::Layer;
use canvas::Canvas;
use clap::ValueEnum;

/// Which picture.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Figure {
    /// Windows, weight and pixel below each other
    Overview,
    /// The input under each window, and the rows of cols in the same colours
    Windows,
    /// The product that gives the first weight's gradient
    Weight,
    /// What the gradient of one pixel gathers from
    Pixel,
    /// All gradients of the weights as one matrix product
    Gemm,
    /// im2col and col2im along the same lines
    Adjoint,
    /// Adding to pixels or gathering for them
    Gather,
    /// Which pixels meet the same taps
    Phases,
}

/// What a figure draws on a canvas from a height on.
type Draw = fn(&mut Canvas, &Layer, f64);

/// Draws a figure of a layer.
pub(crate) fn draw(figure: Figure, layer: &Layer) -> String {
    let parts: &[Draw] = match figure {
        Figure::Overview => &[windows::windows, windows::weight, windows::pixel],
        Figure::Windows => &[windows::windows],
        Figure::Weight => &[windows::weight],
        Figure::Pixel => &[windows::pixel],
        Figure::Gemm => &[products::gemm],
        Figure::Adjoint => &[products::adjoint],
        Figure::Gather => &[memory::gather],
        Figure::Phases => &[memory::phases],
    };
    let mut canvas = Canvas::default();
    for part in parts {
        let from = if canvas.bottom() > 0.0 { canvas.bottom() + 36.0 } else { 16.0 };
        part(&mut canvas, layer, from);
    }
    canvas.finish(&format!("{figure:?}: {}", summary(layer).to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tests::{params, worked_example};
    use proptest::prelude::*;

    /// Every picture is one well-formed element that reaches for nothing outside of it.
    #[test]
    fn pictures_stand_alone() {
        for &figure in Figure::value_variants() {
            let svg = draw(figure, &worked_example());
            for forbidden in
                ["<script", "href", "url(", "@import", "@font-face", "<image", "NaN", "inf"]
            {
                assert!(!svg.contains(forbidden), "{figure:?}: {forbidden}");
            }
            assert!(svg.contains("prefers-color-scheme:dark"));
            for tag in ["g", "text", "svg", "style", "title", "tspan"] {
                let opened = svg.matches(&format!("<{tag} ")).count()
                    + svg.matches(&format!("<{tag}>")).count();
                assert_eq!(opened, svg.matches(&format!("</{tag}>")).count(), "{figure:?}: {tag}");
            }
        }
    }

    #[test]
    fn the_sum_of_a_weight_is_drawn_term_by_term() {
        let svg = draw(Figure::Weight, &worked_example());
        for term in ["∂E/∂G1·V1", "∂E/∂G2·V2", "∂E/∂G3·V4", "∂E/∂G4·V5"] {
            assert_eq!(svg.matches(&format!(">{term}</tspan>")).count(), 1, "{term}");
        }
        let svg = draw(Figure::Pixel, &worked_example());
        for term in ["∂E/∂G1·W4", "∂E/∂G2·W3", "∂E/∂G3·W2", "∂E/∂G4·W1"] {
            assert_eq!(svg.matches(&format!(">{term}</tspan>")).count(), 1, "{term}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_small_layer_can_be_drawn(params in params()) {
            let layer = Layer::new(params).unwrap();
            for &figure in Figure::value_variants() {
                prop_assert!(draw(figure, &layer).ends_with("</svg>\n"));
            }
        }
    }
}
