//! The product of two operands in one of three orders: [panel by panel](super::by_panel), the same with each panel of b
//! [copied first](super::packed_b), or [a few products at a time](super::streaming) for many panels.

use super::grid::Offsets;
use super::operands::{End, Left, Panel, Right, fits};
use super::target::CBlock;
use super::{by_panel, packed_b, streaming};
use crate::element::Element;
use crate::kernel::{Epilogue, Kernel, Kernels, reach, total};

/// Fills `c` with the product of `left` and `right`.
///
/// # Panics
/// If an operand leaves its slice: the caller's tables are wrong.
pub(crate) fn multiply<T: Element>(
    kernel: &Kernel<T>,
    c: &mut CBlock<'_, T>,
    left: Left<'_, T>,
    right: Right<'_, T>,
    epilogue: Epilogue<'_, T>,
) {
    let (rows, lanes) = (c.row_count(), c.columns().len);
    let most = right.k.most();
    let end = End::new(kernel, &right, lanes, most);
    let panels = if end == End::Split { 2 } else { lanes.div_ceil(kernel.lanes) };
    let [row_steps, steps_a, steps_b] = [left.rows, left.k, right.k].map(Offsets::all);
    assert!(row_steps.len() == rows && steps_a.len() == steps_b.len());
    assert!(total([left.rows.most(), left.k.most()]) < left.data.len());
    let last = Panel::new(kernel, &right, lanes, panels - 1, end);
    // Panels before the last are whole and end before it does.
    let past = reach([(panels, right.panel_pitch.unwrap_or(0))]);
    assert!(total([right.first, past]) < usize::MAX);
    assert!(total([last.from, last.vectors * kernel.vector, most]) <= right.data.len());
    assert!(fits(&epilogue, c));

    let beside_a = packed_b::beside(kernel, steps_a);
    let streaming = kernel.stream.zip(streaming::pays(kernel, c, left.weighed, &right, &epilogue));
    if let Some((stream, streaming)) = &streaming {
        // SAFETY: having the kernel proves its ISA, and it streams. The asserts above hold every row plus
        // every step within a, and every step plus all panels' vectors within b; the bias has its length.
        unsafe { streaming::multiply((kernel, *stream), c, left, right, epilogue, streaming) };
    } else if let Some(packed_b) = packed_b::pays(kernel, &left, &right, beside_a) {
        // SAFETY: as above, but that it packs b; the offsets of k were looked at.
        unsafe {
            packed_b::multiply(kernel, packed_b, c, left, right, epilogue, (panels, end));
        }
        return;
    }
    let streamed = streaming.map_or(0, |(_, streaming)| streaming.panels);
    // SAFETY: as above.
    unsafe {
        by_panel::multiply(kernel, c, left, right, epilogue, (streamed..panels, end, beside_a));
    }
}

/// [`multiply`] of packed panels: what is left of the last one by the narrow kernel, where that is enough. 48 channels
/// are a panel of 32 and one of 16.
pub(crate) fn multiply_panels<T: Element>(
    kernels: &Kernels<T>,
    kernel: &Kernel<T>,
    c: &mut CBlock<'_, T>,
    left: Left<'_, T>,
    right: Right<'_, T>,
    epilogue: Epilogue<'_, T>,
) {
    for (narrower, lanes) in kernels.shared(kernel, c.columns().len) {
        if !lanes.is_empty() {
            let panels = lanes.start / kernel.lanes;
            let first = right.first + panels * right.panel_pitch.unwrap_or(0);
            let (right, epilogue) = (Right { first, ..right }, epilogue.of_channels(lanes.clone()));
            multiply(narrower, &mut c.some_columns(lanes), left, right, epilogue);
        }
    }
}
