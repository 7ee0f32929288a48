//! What a machine costs: one row of measured primitives for each micro-architecture, and the rule that picks it.
//!
//! `cargo bench --bench tune -- --fit` fits a row to the times of all schedules of many layers; `docs/tuning.md` says how.

use crate::kernel::Isa;
use crate::kernel::cpu::{Cpu, Vendor, cpu};

/// Cycles of what a pass is made of, for vectors of the machine's own width: a row of the table.
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "shown by `testing`"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// What it is called.
    pub name: &'static str,
    /// A vector of products in tiles of several vectors whose lanes are channels.
    pub product: f64,
    /// The same in tiles of one vector.
    pub product_of_one: f64,
    /// The same in tiles of one vector whose rows lie side by side.
    pub product_of_row: f64,
    /// A vector of products whose lanes are pixels, or taps as they lie.
    pub product_of_pixels: f64,
    /// A vector of products whose lanes are taps, summed over the pixels.
    pub product_of_taps: f64,
    /// A vector of products in a dot product.
    pub product_of_dot: f64,
    /// A vector of products in a direct convolution of a block of filters.
    pub product_of_direct: f64,
    /// Beginning and ending a tile.
    pub tile: f64,
    /// The same where lanes are pixels or taps as they lie.
    pub tile_of_pixels: f64,
    /// A vector of channels stored as it lies.
    pub stored: f64,
    /// A vector of pixels stored as it lies.
    pub stored_of_pixels: f64,
    /// What that takes more where rows meet in a few sets of a cache.
    pub stored_conflict: f64,
    /// A vector whose lanes are stored apart.
    pub stored_across: f64,
    /// A vector stored among those of other phases.
    pub stored_apart: f64,
    /// A vector of lanes that are pixels, read where it lies for all rows.
    pub panel: f64,
    /// A vector packed across: its lanes lie apart.
    pub packed: f64,
    /// A vector packed as it lies.
    pub packed_straight: f64,
    /// How many times as long packing takes across places that meet in a few sets of a cache.
    pub packed_conflict: f64,
    /// How many times as long packing takes for a panel's only reader.
    pub own: f64,
    /// A row that is copied.
    pub copied_row: f64,
    /// A vector that is copied.
    pub copied_vector: f64,
    /// A vector more of copied elements that lie apart.
    pub copied_gap: f64,
    /// How many times as long products take whose operand meets in a few sets of a cache.
    pub conflict: f64,
    /// A line that comes from beyond the L2 cache, read in no order that the processor foresees.
    pub far_line: f64,
    /// The lanes of a dot product added up.
    pub reduced: f64,
    /// A row of pixels begun in a tile of dot products.
    pub dot_row: f64,
    /// An element moved by itself.
    pub moved: f64,
    /// A vector of weights read from the L2 cache.
    pub near: f64,
    /// A vector of weights read from beyond it.
    pub far: f64,
    /// A vector of products of one filter for each channel, channels first.
    pub direct: f64,
    /// The same, channels last.
    pub direct_last: f64,
    /// The same for groups of a few channels.
    pub direct_group: f64,
    /// How many times as long it takes with a stride of two.
    pub direct_by_two: f64,
    /// How long each lane takes with a larger stride, as a share of a vector.
    pub direct_apart: f64,
    /// A row begun in a direct convolution.
    pub direct_row: f64,
    /// A plane begun in a direct convolution.
    pub direct_plane: f64,
    /// A vector loaded for a block of filters.
    pub direct_load: f64,
    /// What a vector stored by a block of filters takes more in planes that the L2 cache doesn't hold.
    pub direct_far: f64,
    /// A vector of products of points.
    pub product_of_points: f64,
    /// A vector of channels that becomes a point, or comes from one.
    pub points: f64,
    /// The same where channels lie apart.
    pub points_across: f64,
    /// A vector of weights in points, read by a block of tiles or made.
    pub points_of_weight: f64,
}

/// How many numbers are fitted.
#[cfg(feature = "testing")]
const NUMBERS: usize = 42;

/// Fitted on Emerald Rapids, a virtual machine: Sapphire Rapids has the same cores.
const SAPPHIRE_RAPIDS: Machine = Machine {
    name: "Sapphire Rapids, AVX-512",
    product: 0.313,
    product_of_one: 0.583,
    product_of_row: 0.477,
    product_of_pixels: 0.341,
    product_of_taps: 0.350,
    product_of_dot: 0.390,
    product_of_direct: 0.283,
    tile: 109.981,
    tile_of_pixels: 0.000,
    stored: 2.830,
    stored_of_pixels: 5.892,
    stored_conflict: 0.000,
    stored_across: 8.735,
    stored_apart: 22.038,
    panel: 0.365,
    packed: 6.966,
    packed_straight: 6.964,
    packed_conflict: 1.234,
    own: 0.664,
    copied_row: 0.330,
    copied_vector: 8.688,
    copied_gap: 2.808,
    conflict: 1.146,
    far_line: 11.563,
    reduced: 2.951,
    dot_row: 3.301,
    moved: 1.193,
    near: 0.161,
    far: 1.641,
    direct: 0.471,
    direct_last: 1.786,
    direct_group: 1.170,
    direct_by_two: 3.117,
    direct_apart: 0.820,
    direct_row: 1.415,
    direct_plane: 16.638,
    direct_load: 1.784,
    direct_far: 4.809,
    product_of_points: 0.393,
    points: 1.376,
    points_across: 15.757,
    points_of_weight: 5.816,
};

/// Fitted on Emerald Rapids with AVX2 alone: the nearest row for all Intel processors without AVX-512.
const HASWELL: Machine = Machine {
    name: "Haswell-like, AVX2",
    product: 0.394,
    product_of_one: 0.637,
    product_of_row: 0.583,
    product_of_pixels: 0.438,
    product_of_taps: 0.463,
    product_of_dot: 0.457,
    product_of_direct: 0.450,
    tile: 112.175,
    tile_of_pixels: 0.000,
    stored: 2.277,
    stored_of_pixels: 3.321,
    stored_conflict: 0.122,
    stored_across: 7.192,
    stored_apart: 9.119,
    panel: 0.914,
    packed: 7.701,
    packed_straight: 7.643,
    packed_conflict: 0.855,
    own: 0.719,
    copied_row: 5.868,
    copied_vector: 5.410,
    copied_gap: 12.571,
    conflict: 1.106,
    far_line: 7.082,
    reduced: 4.659,
    dot_row: 7.358,
    moved: 1.537,
    near: 0.000,
    far: 0.002,
    direct: 0.665,
    direct_last: 1.646,
    direct_group: 1.065,
    direct_by_two: 2.758,
    direct_apart: 0.785,
    direct_row: 2.248,
    direct_plane: 17.725,
    direct_load: 2.631,
    direct_far: 8.436,
    product_of_points: 0.252,
    points: 5.146,
    points_across: 14.735,
    points_of_weight: 3.191,
};

/// Zen 5: numbers that 0.1 was fitted with there, the others are Sapphire Rapids'.
const ZEN_5: Machine = Machine {
    name: "Zen 5, AVX-512",
    product: 0.500,
    product_of_one: 0.600,
    product_of_row: 0.585,
    product_of_pixels: 0.535,
    product_of_taps: 0.535,
    product_of_dot: 0.425,
    stored_of_pixels: 0.500,
    stored_across: 10.000,
    stored_apart: 11.000,
    panel: 1.150,
    packed: 10.200,
    copied_row: 3.840,
    copied_vector: 2.560,
    copied_gap: 2.560,
    far_line: 20.000,
    reduced: 2.550,
    product_of_points: 0.625,
    points: 3.500,
    points_across: 6.000,
    points_of_weight: 4.000,
    ..SAPPHIRE_RAPIDS
};

/// Zen 4: numbers that 0.1 was fitted with there, the others are Sapphire Rapids'.
const ZEN_4: Machine = Machine {
    name: "Zen 4, AVX-512",
    product: 1.000,
    product_of_one: 1.000,
    product_of_row: 1.000,
    product_of_pixels: 1.030,
    product_of_taps: 1.030,
    product_of_dot: 1.000,
    product_of_direct: 1.000,
    stored_of_pixels: 5.000,
    stored_across: 11.000,
    stored_apart: 24.000,
    packed: 16.000,
    copied_row: 6.000,
    copied_vector: 4.000,
    copied_gap: 4.000,
    direct: 1.000,
    product_of_points: 1.250,
    points: 5.000,
    points_across: 8.000,
    points_of_weight: 4.000,
    ..SAPPHIRE_RAPIDS
};

/// Zen 3: numbers that 0.1 was fitted with there, the others are Haswell's.
const ZEN_3: Machine = Machine {
    name: "Zen 3, AVX2",
    product: 0.500,
    product_of_one: 0.600,
    product_of_row: 0.600,
    product_of_pixels: 0.500,
    product_of_taps: 0.500,
    stored_of_pixels: 3.000,
    stored_across: 17.500,
    stored_apart: 19.500,
    panel: 1.700,
    packed: 8.000,
    copied_row: 6.000,
    copied_vector: 4.000,
    copied_gap: 4.000,
    product_of_points: 0.625,
    points: 3.500,
    points_across: 6.000,
    points_of_weight: 4.000,
    ..HASWELL
};

/// Neoverse: what 0.1 counted in instructions, the others are Zen 4's.
const NEOVERSE: Machine =
    Machine { name: "Neoverse, NEON", product_of_pixels: 0.780, packed: 4.000, ..ZEN_4 };

/// What runs WebAssembly: 0.1 gave it Zen 4's numbers.
const WASM: Machine = Machine { name: "WebAssembly, simd128", packed: 4.000, ..ZEN_4 };

/// Plain loops: 0.1 gave them Zen 4's numbers.
const PORTABLE: Machine = Machine { name: "portable", packed: 4.000, ..ZEN_4 };

impl Machine {
    /// The row for kernels of an ISA on this processor, or the nearest to it.
    pub(crate) fn of(isa: Isa) -> &'static Machine {
        /// AMD's number of the first family with Zen 5's cores.
        const ZEN_5_FAMILY: u32 = 0x1a;
        let Cpu { vendor, family, .. } = cpu();
        match (isa, vendor) {
            (Isa::Avx512, Vendor::Amd) if family >= ZEN_5_FAMILY => &ZEN_5,
            (Isa::Avx512, Vendor::Amd | Vendor::Other) => &ZEN_4,
            (Isa::Avx512, Vendor::Intel) => &SAPPHIRE_RAPIDS,
            (Isa::Avx2, Vendor::Amd) => &ZEN_3,
            (Isa::Avx2, Vendor::Intel | Vendor::Other) => &HASWELL,
            (Isa::Neon, _) => &NEOVERSE,
            (Isa::Simd128, _) => &WASM,
            (Isa::Portable, _) => &PORTABLE,
        }
    }

    /// The numbers that are fitted, with their names.
    #[cfg(feature = "testing")]
    pub fn numbers(&mut self) -> [(&'static str, &mut f64); NUMBERS] {
        [
            ("product", &mut self.product),
            ("product_of_one", &mut self.product_of_one),
            ("product_of_row", &mut self.product_of_row),
            ("product_of_pixels", &mut self.product_of_pixels),
            ("product_of_taps", &mut self.product_of_taps),
            ("product_of_dot", &mut self.product_of_dot),
            ("product_of_direct", &mut self.product_of_direct),
            ("tile", &mut self.tile),
            ("tile_of_pixels", &mut self.tile_of_pixels),
            ("stored", &mut self.stored),
            ("stored_of_pixels", &mut self.stored_of_pixels),
            ("stored_conflict", &mut self.stored_conflict),
            ("stored_across", &mut self.stored_across),
            ("stored_apart", &mut self.stored_apart),
            ("panel", &mut self.panel),
            ("packed", &mut self.packed),
            ("packed_straight", &mut self.packed_straight),
            ("packed_conflict", &mut self.packed_conflict),
            ("own", &mut self.own),
            ("copied_row", &mut self.copied_row),
            ("copied_vector", &mut self.copied_vector),
            ("copied_gap", &mut self.copied_gap),
            ("conflict", &mut self.conflict),
            ("far_line", &mut self.far_line),
            ("reduced", &mut self.reduced),
            ("dot_row", &mut self.dot_row),
            ("moved", &mut self.moved),
            ("near", &mut self.near),
            ("far", &mut self.far),
            ("direct", &mut self.direct),
            ("direct_last", &mut self.direct_last),
            ("direct_group", &mut self.direct_group),
            ("direct_by_two", &mut self.direct_by_two),
            ("direct_apart", &mut self.direct_apart),
            ("direct_row", &mut self.direct_row),
            ("direct_plane", &mut self.direct_plane),
            ("direct_load", &mut self.direct_load),
            ("direct_far", &mut self.direct_far),
            ("product_of_points", &mut self.product_of_points),
            ("points", &mut self.points),
            ("points_across", &mut self.points_across),
            ("points_of_weight", &mut self.points_of_weight),
        ]
    }
}
