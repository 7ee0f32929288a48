//! The arithmetic of the asserts that guard `unsafe`: it saturates, so that no size can wrap to a small one.

/// How far the last of some steps is from the first place: the sum of `(count - 1) * pitch` of each of `(count, pitch)`,
/// or [`usize::MAX`] where that is more. No slice has an element there.
pub(crate) fn reach<const N: usize>(steps: [(usize, usize); N]) -> usize {
    let of = |(count, pitch): (usize, usize)| count.saturating_sub(1).saturating_mul(pitch);
    total(steps.map(of))
}

/// The sum of some places, or [`usize::MAX`] where that is more.
pub(crate) fn total<const N: usize>(places: [usize; N]) -> usize {
    places.into_iter().fold(0, usize::saturating_add)
}

/// Whether each of these is one more than the one before it.
#[inline(always)]
pub(crate) fn are_consecutive(places: &[u32]) -> bool {
    let (Some(&first), Some(&last)) = (places.first(), places.last()) else { return true };
    // No sum wraps below, as the last is as far from the first as there are places. Without a branch in it, the loop is a
    // vector's work.
    let spans = last.checked_sub(first).is_some_and(|span| span as usize == places.len() - 1);
    let differs = |(i, place): (u32, &u32)| place.wrapping_sub(first) ^ i;
    spans && (0..).zip(places).map(differs).fold(0, |all, one| all | one) == 0
}

/// Elements from each of these to the next, if they are the same between all: 0 of a single one.
#[inline(always)]
pub(crate) fn even_pitch(places: &[u32]) -> Option<usize> {
    let (&first, &last) = (places.first()?, places.last()?);
    let pitch = match places.get(1) {
        Some(second) => second.checked_sub(first)?,
        None => 0,
    };
    // No sum wraps below, as in `are_consecutive`.
    let spans = u64::from(last.checked_sub(first)?) == u64::from(pitch) * (places.len() as u64 - 1);
    let differs = |(i, place): (u32, &u32)| place.wrapping_sub(first) ^ i.wrapping_mul(pitch);
    let even = spans && (0..).zip(places).map(differs).fold(0, |all, one| all | one) == 0;
    even.then_some(pitch as usize)
}
