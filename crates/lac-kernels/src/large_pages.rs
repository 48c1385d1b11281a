//! Weights in large pages: a decoded token reads every weight once, and with pages of 4 KiB it also reads an entry of the
//! page table for each of them.

use burn::tensor::{DType, Tensor, bf16, f16};
use rayon::prelude::*;

use crate::cpu::storage::primitive;
use crate::has_cpu_kernel;
use crate::quantized::QuantizedMatrix;
use crate::value::Value;

/// Bytes of a large page on the processors that have kernels.
const PAGE_BYTES: usize = 2 << 20;

/// Asks the operating system to move the memory of weights into pages of 2 MiB, and returns how many bytes lie in such
/// pages afterwards.
///
/// Values do not change, nor does the address of any. Only pages of which weights fill half or more are moved, so that
/// memory grows by little. It does something on Linux from 6.1 on, whether or not programs get large pages by
/// themselves there; elsewhere, and where no such page is free, weights stay where they are. Tensors that are not on
/// burn-flex are passed over.
pub fn use_large_pages<'a>(
    tensors: impl IntoIterator<Item = &'a Tensor<2>>,
    blocks: impl IntoIterator<Item = &'a QuantizedMatrix>,
) -> usize {
    let tensors = tensors.into_iter().filter(|tensor| has_cpu_kernel(tensor));
    let tensors = tensors.map(tensor_span);
    let blocks = blocks.into_iter().map(|blocks| span(blocks.bytes()));
    let pages = filled_pages(tensors.chain(blocks).collect());
    pages.into_par_iter().filter(|&page| collapse(page)).count() * PAGE_BYTES
}

/// Addresses from the first to the one behind the last.
type Span = (usize, usize);

fn span<T>(values: &[T]) -> Span {
    let addresses = values.as_ptr_range();
    (addresses.start.addr(), addresses.end.addr())
}

/// The whole storage of a tensor, whichever part of it the tensor shows.
fn tensor_span(tensor: &Tensor<2>) -> Span {
    let primitive = primitive(tensor.clone());
    match tensor.dtype() {
        DType::F16 => span(f16::storage(&primitive)),
        DType::BF16 => span(bf16::storage(&primitive)),
        _ => span(f32::storage(&primitive)),
    }
}

/// Returns the addresses of large pages of which spans fill half or more, in order. Spans that several weights share
/// count once.
fn filled_pages(mut spans: Vec<Span>) -> Vec<usize> {
    spans.sort_unstable();
    let mut pages: Vec<(usize, usize)> = Vec::new();
    let mut seen_to = 0;
    for (start, end) in spans {
        let mut at = start.max(seen_to);
        while at < end {
            let page = at - at % PAGE_BYTES;
            let next = end.min(page + PAGE_BYTES);
            match pages.last_mut() {
                Some((last, n_bytes)) if *last == page => *n_bytes += next - at,
                _ => pages.push((page, next - at)),
            }
            at = next;
        }
        seen_to = seen_to.max(end);
    }
    pages.retain(|&(_, n_bytes)| 2 * n_bytes >= PAGE_BYTES);
    pages.into_iter().map(|(page, _)| page).collect()
}

#[cfg(target_os = "linux")]
fn collapse(page: usize) -> bool {
    let address = std::ptr::without_provenance_mut(page);
    // SAFETY: the call reads no memory of this program and changes no value: it only moves what is mapped there, or fails.
    let result = unsafe { libc::madvise(address, PAGE_BYTES, libc::MADV_COLLAPSE) };
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn collapse(_page: usize) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_weights_fill_half_are_found() {
        let page = |idx: usize| idx * PAGE_BYTES;
        let half = PAGE_BYTES / 2;
        // A span over two and a half pages, one that is shared, a short one, and two that fill half together.
        let spans = vec![
            (page(9) + 10, page(9) + half),
            (page(9) + half, page(9) + half + 10),
            (page(1), page(3) + half),
            (page(2), page(3)),
            (page(5) + 1, page(5) + half),
        ];
        assert_eq!(filled_pages(spans), [page(1), page(2), page(3), page(9)]);
        // The same bytes again do not make a half of a quarter.
        let quarter = (page(4), page(4) + half / 2);
        assert_eq!(filled_pages(vec![quarter, quarter]), Vec::<usize>::new());
    }

    #[test]
    fn values_stay_what_they_are() {
        let device = burn::tensor::Device::flex();
        let values: Vec<f32> = (0..3 << 20).map(|idx| idx as f32).collect();
        let tensor = Tensor::<1>::from_floats(values.as_slice(), &device).reshape([1024, 3072]);
        let n_bytes = use_large_pages([&tensor], []);
        assert!(
            n_bytes <= 12 << 20 && n_bytes % PAGE_BYTES == 0,
            "{n_bytes}"
        );
        assert_eq!(tensor.into_data().try_to_vec::<f32>().unwrap(), values);
    }
}
