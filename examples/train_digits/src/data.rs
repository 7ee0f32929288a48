//! The images and their labels: found in a folder, checked against each other, cut into batches.

use crate::idx::{Idx, IdxError};
use std::path::{Path, PathBuf};

/// What the files of one half of a data set begin with: the digits of this folder, then MNIST
/// and Fashion-MNIST.
const TRAIN: [&str; 2] = ["digits-train", "train"];
const TEST: [&str; 2] = ["digits-test", "t10k"];

/// Why there is nothing to train on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error(transparent)]
    Idx(#[from] IdxError),
    #[error("{}: no such folder", .0.display())]
    NoFolder(PathBuf),
    #[error("{}: no {names}", folder.display())]
    NotFound { folder: PathBuf, names: String },
    #[error("{}: packed with gzip: unpack it first (gunzip)", .0.display())]
    Packed(PathBuf),
    #[error("{}: {images} images, but {labels} labels", folder.display())]
    Count { folder: PathBuf, images: usize, labels: usize },
    #[error("{}: no images", .0.display())]
    Empty(PathBuf),
    #[error("images of {} x {} pixels: the network wants at least 2 x 2", .0[0], .0[1])]
    TooSmall([usize; 2]),
    #[error(
        "images to train on have {} x {} pixels, those to test on {} x {}",
        train[0], train[1], test[0], test[1]
    )]
    Sizes { train: [usize; 2], test: [usize; 2] },
}

/// Images to train on and others to test on.
pub(crate) struct Dataset {
    pub(crate) train: Split,
    pub(crate) test: Split,
    /// One more than the largest label.
    pub(crate) classes: usize,
}

impl Dataset {
    /// Reads the four files of a data set.
    pub(crate) fn load(folder: &Path) -> Result<Self, DataError> {
        if !folder.is_dir() {
            return Err(DataError::NoFolder(folder.to_owned()));
        }
        let (train, test) = (Split::load(folder, TRAIN)?, Split::load(folder, TEST)?);
        if train.size != test.size {
            return Err(DataError::Sizes { train: train.size, test: test.size });
        }
        let labels = train.labels.iter().chain(&test.labels);
        let classes = labels.max().map_or(0, |&label| usize::from(label) + 1);
        Ok(Self { train, test, classes })
    }
}

/// Images of one size and their labels.
pub(crate) struct Split {
    /// Height and width in pixels.
    pub(crate) size: [usize; 2],
    /// `[image, row, column]`, 0 to 1.
    pub(crate) pixels: Vec<f32>,
    pub(crate) labels: Vec<u8>,
}

impl Split {
    fn load(folder: &Path, names: [&str; 2]) -> Result<Self, DataError> {
        let images = Idx::<3>::read(&find(folder, names, "images-idx3-ubyte")?)?;
        let labels = Idx::<1>::read(&find(folder, names, "labels-idx1-ubyte")?)?;
        Self::new(folder, images, labels)
    }

    fn new(folder: &Path, images: Idx<3>, labels: Idx<1>) -> Result<Self, DataError> {
        let ([images_len, height, width], [labels_len]) = (images.dims, labels.dims);
        if images_len != labels_len {
            let folder = folder.to_owned();
            return Err(DataError::Count { folder, images: images_len, labels: labels_len });
        }
        if images_len == 0 {
            return Err(DataError::Empty(folder.to_owned()));
        }
        if height < 2 || width < 2 {
            return Err(DataError::TooSmall([height, width]));
        }
        let pixels = images.data.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
        Ok(Self { size: [height, width], pixels, labels: labels.data })
    }

    /// The number of images.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The pixels of one image.
    pub(crate) fn image(&self, index: usize) -> &[f32] {
        let len = self.size[0] * self.size[1];
        &self.pixels[index * len..][..len]
    }
}

/// The path of the first of `names` that the folder has.
fn find(folder: &Path, names: [&str; 2], kind: &str) -> Result<PathBuf, DataError> {
    let names = names.map(|name| format!("{name}-{kind}"));
    if let Some(name) = names.iter().find(|name| folder.join(name).exists()) {
        return Ok(folder.join(name));
    }
    let mut packed = names.iter().map(|name| folder.join(format!("{name}.gz")));
    match packed.find(|path| path.exists()) {
        Some(path) => Err(DataError::Packed(path)),
        None => Err(DataError::NotFound { folder: folder.to_owned(), names: names.join(" or ") }),
    }
}

/// Images that the network sees at once. Refilled for every step, so that steps don't allocate.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) images: Vec<f32>,
    pub(crate) labels: Vec<u8>,
}

impl Batch {
    /// Takes the images `picks` of `split`, moved by `shift` pixels down and to the right;
    /// what comes in at the edges is paper.
    pub(crate) fn fill(&mut self, split: &Split, picks: &[usize], shift: [i8; 2]) {
        let [height, width] = split.size;
        self.labels.clear();
        self.labels.extend(picks.iter().map(|&pick| split.labels[pick]));
        self.images.clear();
        self.images.resize(picks.len() * height * width, 0.0);
        let span = |len: usize, shift: i8| {
            let far = usize::from(shift.unsigned_abs()).min(len);
            // From where, to where, how many.
            if shift < 0 { (far, 0, len - far) } else { (0, far, len - far) }
        };
        let (from_y, to_y, rows) = span(height, shift[0]);
        let (from_x, to_x, columns) = span(width, shift[1]);
        for (&pick, to) in picks.iter().zip(self.images.chunks_exact_mut(height * width)) {
            let from = split.image(pick).chunks_exact(width).skip(from_y).take(rows);
            for (from, to) in from.zip(to.chunks_exact_mut(width).skip(to_y)) {
                to[to_x..][..columns].copy_from_slice(&from[from_x..][..columns]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(images: [usize; 3], labels: usize) -> Result<Split, DataError> {
        let data = (1..=images.iter().product::<usize>()).map(|i| i as u8).collect();
        let images = Idx { dims: images, data };
        Split::new(Path::new("folder"), images, Idx { dims: [labels], data: vec![7; labels] })
    }

    #[test]
    fn files_that_do_not_belong_together() {
        let message = |images, labels| split(images, labels).err().map(|e| e.to_string());
        assert_eq!(message([2, 2, 2], 3).as_deref(), Some("folder: 2 images, but 3 labels"));
        assert_eq!(message([0, 2, 2], 0).as_deref(), Some("folder: no images"));
        let expected = "images of 1 x 9 pixels: the network wants at least 2 x 2";
        assert_eq!(message([2, 1, 9], 2).as_deref(), Some(expected));
    }

    #[test]
    fn missing_folders_and_files_are_named() {
        let message = |path: &str| Dataset::load(Path::new(path)).err().map(|e| e.to_string());
        assert_eq!(message("no/such/folder").as_deref(), Some("no/such/folder: no such folder"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        let expected =
            format!("{source}: no digits-train-images-idx3-ubyte or train-images-idx3-ubyte");
        assert_eq!(message(source), Some(expected));
    }

    #[test]
    fn a_batch_is_shifted_and_filled_with_paper() {
        let split = split([1, 2, 3], 1).expect("a good split");
        let pixels = |shift| {
            let mut batch = Batch::default();
            batch.fill(&split, &[0], shift);
            let byte = |&pixel: &f32| (pixel * 255.0).round() as u8;
            batch.images.iter().map(byte).collect::<Vec<_>>()
        };
        assert_eq!(pixels([0, 0]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(pixels([1, 0]), [0, 0, 0, 1, 2, 3]);
        assert_eq!(pixels([0, -1]), [2, 3, 0, 5, 6, 0]);
        assert_eq!(pixels([-1, 1]), [0, 4, 5, 0, 0, 0]);
    }
}
