//! [`multiply`](super::multiply) where there is more to read or to write than to multiply: few rows, or a small k.
//!
//! A processor fetches by itself what follows the places that are read one after the other, if those are few.
//! So a few products at a time are added for many panels, not all of k for one panel; the sums grow in their
//! places in the destination. Rows of the destination are thereby written one after the other, too, not a line of each.

use super::grid::Offsets;
use super::operands::{Left, Right, SET_CONFLICT};
use super::packed_b::even_pitch;
use super::target::CBlock;
use crate::element::Element;
use crate::kernel::{Epilogue, Kernel, Side, Stream};
use crate::numerics::STREAMED_TIMES;

/// Places of b that are read one after the other. All products with so many are added at once, whatever the rows.
const PLACES: usize = 16;

/// The same where they meet in the same sets of the caches, of which a line each has a way.
const CONFLICTING_PLACES: usize = 8;

/// Elements from which on the next offset of k is another place.
const APART: u32 = 64;

/// The k from which on two tiles of rows are few, too.
const MANY: usize = 64;

/// Lanes that meet a block of k before the next block.
const LANES: usize = 1536;

/// The same for several tiles of rows, of which all but the first find b in the L1 cache.
const LANES_AGAIN: usize = 256;

/// The fewest lanes that are worth it.
const FEWEST: usize = 256;

/// How a product is streamed.
pub(super) struct Streaming {
    /// Its first panels, which are streamed.
    pub(super) panels: usize,
    /// Places whose products are added at once.
    places: usize,
    /// From a row of the destination to the next.
    to_pitch: usize,
}

/// All whole panels of this product, if it is such a one.
pub(super) fn pays<T: Element>(
    kernel: &Kernel<T>,
    c: &CBlock<'_, T>,
    rows: usize,
    right: &Right<'_, T>,
    epilogue: &Epilogue<'_, T>,
) -> Option<Streaming> {
    let lanes = c.columns().len;
    let rows_biased = epilogue.bias.is_none() || epilogue.channels == Side::Rows;
    let in_place = c.column_pitch() == 1 && c.is_even() && rows_biased;
    let steps = right.k.all();
    if !in_place || right.panel_pitch.is_some() || lanes < FEWEST || steps.is_empty() {
        return None;
    }
    let conflicting = steps.windows(2).any(|pair| conflicts(pair[1].abs_diff(pair[0])));
    let places = if conflicting { CONFLICTING_PLACES } else { PLACES };
    let tiles = rows.div_ceil(kernel.rows);
    let few = tiles == 1 || (tiles == 2 && steps.len() >= MANY);
    if !few && k_of(kernel, steps, places) < steps.len() {
        return None;
    }
    // A large k has more places at once.
    let places = places.max(steps.len().div_ceil(STREAMED_TIMES));
    let to_pitch = even_pitch(c.row_offsets())?;
    Some(Streaming { panels: lanes / kernel.lanes, places, to_pitch })
}

/// Sums these panels of `c`, its first.
///
/// # Safety
/// The machine has the ISA of the kernel, whose `stream` this is, and `streaming` is what [`pays`] for this product.
/// Every row and step of `left` is within its data, and so is every vector of these panels at every step of
/// `right`. A bias has an element for each row.
pub(super) unsafe fn multiply<T: Element>(
    (kernel, stream): (&Kernel<T>, unsafe fn(&Stream<'_, T>)),
    c: &mut CBlock<'_, T>,
    left: Left<'_, T>,
    right: Right<'_, T>,
    epilogue: Epilogue<'_, T>,
    &Streaming { panels, places, to_pitch }: &Streaming,
) {
    let [rows, steps_a, steps_b] = [left.rows, left.k, right.k].map(Offsets::all);
    let (offsets, start) = (c.row_offsets(), c.start());
    // The tiles' rows are as even as may be.
    let tiles = rows.len().div_ceil(kernel.rows);
    let height = rows.len().div_ceil(tiles);
    let lanes = if tiles == 1 { LANES } else { LANES_AGAIN };
    let at_once = (lanes / kernel.lanes).max(1);
    for first in (0..panels).step_by(at_once) {
        let lane = first * kernel.lanes;
        let mut done = 0;
        while done < steps_b.len() {
            let k = k_of(kernel, &steps_b[done..], places);
            let epilogue = epilogue.part(done == 0, done + k == steps_b.len());
            for row in (0..rows.len()).step_by(height) {
                let count = height.min(rows.len() - row);
                let job = Stream {
                    count,
                    panels: at_once.min(panels - first),
                    a: left.data.as_ptr(),
                    rows: rows[row..].as_ptr(),
                    steps_a: steps_a[done..].as_ptr(),
                    b: right.data[right.first + lane..].as_ptr(),
                    steps_b: steps_b[done..].as_ptr(),
                    k,
                    to: start.wrapping_add(offsets[row] as usize + lane),
                    to_pitch,
                    epilogue: epilogue.of_channels(row..row + count),
                };
                // SAFETY: the caller vouches for the ISA and the operands. The lanes of these panels are the
                // block's, side by side in each row; they were written before they are accumulated to.
                unsafe { stream(&job) };
            }
            done += k;
        }
    }
}

/// Whether places so far apart meet in the same sets.
fn conflicts(apart: u32) -> bool {
    apart >= APART && (apart as usize).is_multiple_of(SET_CONFLICT)
}

/// How many products are added at once: the first that have no more than so many places.
fn k_of<T>(kernel: &Kernel<T>, steps: &[u32], places: usize) -> usize {
    let steps = &steps[..steps.len().min(kernel.block)];
    let is_next = |&at: &usize| steps[at].abs_diff(steps[at - 1]) >= APART;
    (1..steps.len()).filter(is_next).nth(places - 1).unwrap_or(steps.len())
}
