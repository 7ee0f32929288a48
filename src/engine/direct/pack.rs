//! The weights of direct convolutions.

use super::channels_last::ChannelsLast;
use super::grouped::Grouped;
use crate::element::Element;
use crate::engine::layer::Layer;
use crate::kernel::stencil::Channels;
use crate::pass::Pass;

impl Grouped {
    /// Packs the weights of every block.
    pub(crate) fn pack<T: Element>(
        &self,
        &Layer { parallelism, .. }: &Layer<'_, T>,
        weight: &[T],
        packed: &mut [T],
    ) {
        let &Self { block, inputs, .. } = self;
        let panels = packed.chunks_mut(self.panel()).enumerate();
        let of_group = weight.len() / self.groups;
        parallelism.for_all(panels.len(), panels, |(index, mut panel)| {
            let (group, first) = (index / self.blocks(), index % self.blocks() * block);
            let weight = &weight[group * of_group..];
            for s in self.stencils.iter().flatten().flatten() {
                let tap = |axis: usize, at: usize| at as isize * s.tap_pitches[axis];
                for plane in 0..s.walks[0].taps {
                    for input in 0..inputs {
                        for col in 0..s.walks[2].taps {
                            let place = s.tap_base as isize + tap(0, plane) + tap(2, col);
                            for row in 0..s.walks[1].taps {
                                let place =
                                    (place + tap(1, row)) as usize + input * self.pitches[0];
                                let Some(to) = panel.split_off_mut(..block) else { return };
                                for (k, to) in (first..).zip(to) {
                                    let weight = || weight[place + k * self.pitches[1]];
                                    *to = if k < self.outputs { weight() } else { T::ZERO };
                                }
                            }
                        }
                    }
                }
            }
        });
    }
}

impl ChannelsLast {
    /// Turns the weights for a pass. A filter has the inputs of a tap side by side.
    pub(crate) fn pack<T: Element>(&self, pass: Pass, weight: &[T], packed: &mut [T]) {
        let Channels { count, group } = self.channels;
        let filter = self.taps * group[0];
        if pass != Pass::BackwardData || group == [1, 1] {
            for (row, packed) in packed.chunks_mut(count).enumerate() {
                let filters = weight.chunks(filter);
                packed.iter_mut().zip(filters).for_each(|(to, filter)| *to = filter[row]);
            }
            return;
        }
        let Channels { count, group: [outputs, inputs] } = self.inputs();
        for (row, packed) in packed.chunks_mut(count).enumerate() {
            let (tap, output) = (row / outputs, row % outputs);
            let filters = weight.chunks(filter).skip(output).step_by(outputs);
            for (to, filter) in packed.chunks_mut(inputs).zip(filters) {
                to.copy_from_slice(&filter[tap * inputs..][..inputs]);
            }
        }
    }
}
