//! Weights in points: `U = G g Gᵀ`, in panels, in the order in which the products read them.

use super::plane::{Block, LINE, Plane};
use crate::element::Element;
use crate::engine::layer::Layer;
use crate::gemm::pack::{Source, pack};
use crate::gemm::tiles::{Kind, Tile, transform};
use crate::kernel::winograd::Stage;
use crate::scratch::{Need, aligned};
use crate::shape::Layout;

impl Plane {
    /// Elements of all weights in points.
    pub(crate) fn packed_len(&self) -> usize {
        self.groups * self.group_len()
    }

    /// Elements of a group's.
    fn group_len(&self) -> usize {
        let lanes = self.channels.next_multiple_of(self.width);
        let (blocks, rest) = (lanes / self.block.lanes, lanes % self.block.lanes);
        let rest = if rest > 0 { self.cell_len(rest) } else { 0 };
        blocks * self.cell_len(self.block.lanes) + rest
    }

    /// Elements of the weights of a block with so many lanes.
    fn cell_len(&self, lanes: usize) -> usize {
        self.blocks().map(|block| self.block_len(lanes, &block)).sum()
    }

    /// Elements of a block of them.
    pub(super) fn block_len(&self, lanes: usize, block: &Block) -> usize {
        self.form.points() * Self::point_len(lanes, block)
    }

    /// Elements of each of its points: a line more than there are, so that points don't share the cache's sets.
    pub(super) fn point_len(lanes: usize, block: &Block) -> usize {
        lanes * block.terms.len() + LINE
    }

    /// Where the weights of a block begin: from channel `channel` of group `group` on.
    pub(super) fn weights_start(&self, group: usize, channel: usize) -> usize {
        group * self.group_len() + channel / self.block.lanes * self.cell_len(self.block.lanes)
    }

    /// Elements that a worker packs panels in.
    pub(super) fn panel_len(&self) -> usize {
        self.block.terms * self.taps() * self.width + 16
    }

    fn taps(&self) -> usize {
        self.form.sizes().map(|sizes| sizes.taps).iter().product()
    }

    /// Elements of scratch for packing by all workers.
    pub(crate) fn packing_len<T: Element>(&self, layer: &Layer<'_, T>) -> usize {
        let need = self.packing();
        need.len(layer.parallelism.workers(need))
    }

    /// What packing wants.
    fn packing(&self) -> Need {
        let units = self.groups * self.channels.div_ceil(self.block.lanes) * self.blocks().count();
        Need { units, shared: 0, piece: self.panel_len() }
    }

    /// Transforms all weights.
    pub(crate) fn pack<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        weight: &[T],
        packed: &mut [T],
        scratch: &mut [T],
    ) {
        let (group_len, cell_len) = (self.group_len(), self.cell_len(self.block.lanes));
        let groups = packed.chunks_exact_mut(group_len).enumerate();
        let blocks = groups.flat_map(|(group, packed)| {
            packed
                .chunks_mut(cell_len)
                .enumerate()
                .map(move |(i, packed)| (group, i * self.block.lanes, packed))
        });
        let blocks = blocks.flat_map(|(group, channel, packed)| {
            let lanes = self.block.lanes.min(self.channels.next_multiple_of(self.width) - channel);
            let mut rest = packed;
            self.blocks().map(move |block| {
                let len = self.block_len(lanes, &block);
                let (packed, left) = core::mem::take(&mut rest).split_at_mut(len);
                rest = left;
                (group, channel, lanes, block, packed)
            })
        });
        layer.parallelism.for_each(self.packing(), blocks, scratch, |unit, scratch, _: &mut ()| {
            let (group, channel, lanes, block, packed) = unit;
            let pitch = Self::point_len(lanes, &block);
            for panel in 0..lanes / self.width {
                let first = channel + panel * self.width;
                let to = &mut packed[panel * block.terms.len() * self.width..];
                self.pack_panel(layer, weight, [group, first], &block, (to, pitch), scratch);
            }
        });
    }

    /// Transforms the weights of a block of terms and a panel of channels from `first` on; points are `pitch` apart.
    fn pack_panel<T: Element>(
        &self,
        &Layer { shape, kernels, .. }: &Layer<'_, T>,
        weight: &[T],
        [group, first]: [usize; 2],
        block: &Block,
        (to, pitch): (&mut [T], usize),
        scratch: &mut [T],
    ) {
        let (kernel, width, taps) = (self.kernel(kernels), self.width, self.taps());
        let (patch, depths) = (shape.patch_len(), self.reader.walks[0].taps);
        let (count, lanes) = (block.terms.len(), width.min(self.channels - first));
        let term = block.terms.start;
        let weight = &weight[group * shape.group_out() * patch..];
        let depth = if self.flipped { depths - 1 - block.depth } else { block.depth } * taps;
        let panel = &mut aligned(scratch)[..count * taps * width];
        // Terms by taps, or taps by terms.
        let (source, [of_term, of_tap]) = match (self.flipped, shape.layout()) {
            (false, Layout::ChannelsFirst) => {
                let data = &weight[first * patch + term * depths * taps + depth..];
                let (cols, blocks, block) = match depths {
                    1 => (count * taps, 1, 0),
                    _ => (taps, count, depths * taps),
                };
                (Source { data, lanes, lane: patch, cols, col: 1, blocks, block }, [taps, 1])
            }
            (false, Layout::ChannelsLast) => {
                let block = shape.group_in();
                let data = &weight[first * patch + depth * block + term..];
                (
                    Source { data, lanes, lane: patch, cols: count, col: 1, blocks: taps, block },
                    [1, count],
                )
            }
            (true, Layout::ChannelsFirst) => {
                let lane = depths * taps;
                let data = &weight[term * patch + first * lane + depth..];
                (
                    Source { data, lanes, lane, cols: taps, col: 1, blocks: count, block: patch },
                    [taps, 1],
                )
            }
            (true, Layout::ChannelsLast) => {
                let col = shape.group_in();
                let data = &weight[term * patch + depth * col + first..];
                // A single channel is as dense along its taps.
                (
                    Source { data, lanes, lane: 1, cols: taps, col, blocks: count, block: patch },
                    [taps, 1],
                )
            }
        };
        pack(kernel, source, panel, false);
        let [rows, columns] = self.form.sizes();
        let (row, tap) = ((columns.taps * of_tap * width) as isize, (of_tap * width) as isize);
        let last = (rows.taps as isize - 1) * row + (columns.taps as isize - 1) * tap;
        let (start, tile_pitch) = if self.flipped { (last, [-row, -tap]) } else { (0, [row, tap]) };
        let kind = Kind {
            form: self.form,
            stage: Stage::Weight,
            lanes: width,
            scale: T::from_f64(self.form.scale()),
        };
        let to_pitch = [columns.points() * pitch, pitch];
        let inside = [0..rows.taps, 0..columns.taps];
        for i in 0..count {
            let start = start + (i * of_term * width) as isize;
            let tile = Tile { start, pitch: tile_pitch, inside: inside.clone() };
            transform(kernels, kind, (&*panel, &tile), (&mut to[i * width..], to_pitch), None);
        }
    }
}
