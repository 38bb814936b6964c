//! Blocks are append-only while a handle lives, and come back empty when the last one goes.
#![cfg(not(loom))]

use shard_ring::Slab;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn a_block_comes_back_when_its_last_handle_goes_and_not_before() {
    let slab = Slab::new(8_192, 2).unwrap();
    let (first, second) = (slab.take().unwrap(), slab.take().unwrap());
    assert!(slab.take().is_none(), "all are taken");
    assert!(!first.is(&second) && first.is(&first.clone()));
    first.append(b"kept");
    let slice = first.slice(1..4);
    let part = slice.slice(1..3);
    drop((first, slice));
    assert_eq!(slab.free_blocks(), 0, "a slice of a slice still holds the block");
    assert_eq!(part.as_ref(), b"pt");
    drop(part);
    assert_eq!(slab.free_blocks(), 1);
    assert_eq!(slab.take().unwrap().filled(), 0);
}

#[test]
fn blocks_outlive_the_slabs_own_handle() {
    let slab = Slab::new(4_096, 1).unwrap();
    let block = slab.take().unwrap();
    block.append(b"here");
    drop(slab);
    assert_eq!(block.slice(0..4).as_ref(), b"here");
}

#[test]
fn blocks_do_not_overlap_and_are_page_aligned() {
    let slab = Slab::new(4_096, 16).unwrap();
    let blocks: Vec<_> = std::iter::from_fn(|| slab.take()).collect();
    assert_eq!(blocks.len(), 16);
    for (number, block) in blocks.iter().enumerate() {
        block.append_with(4_096, |place| {
            assert_eq!(place.as_ptr() as usize % 4_096, 0);
            place.fill(number as u8);
        });
        assert_eq!(block.room(), 0);
    }
    for (number, block) in blocks.iter().enumerate() {
        assert!(block.slice(0..4_096).as_ref().iter().all(|byte| *byte == number as u8));
    }
}

#[test]
fn slices_do_not_change_while_more_is_appended() {
    let slab = Slab::new(4_096, 1).unwrap();
    let block = slab.take().unwrap();
    block.append(b"first");
    let first = block.slice(0..5);
    block.append_with(5, |place| {
        assert_eq!(first.as_ref(), b"first");
        place.copy_from_slice(b"later");
    });
    block.pad_to(512);
    assert_eq!((first.as_ref(), block.filled()), (&b"first"[..], 512));
    assert_eq!(block.slice(5..12).as_ref(), b"later\0\0");
    block.pad_to(512);
    assert_eq!(block.filled(), 512, "nothing to pad");
}

#[test]
fn misuse_panics_and_leaves_the_block_usable() {
    let slab = Slab::new(4_096, 1).unwrap();
    let block = slab.take().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| block.append(&[0; 4_097]))).is_err(), "more than fits");
    assert!(catch_unwind(AssertUnwindSafe(|| block.slice(0..1))).is_err(), "behind what is filled");
    let twice = || block.append_with(1, |_| block.append(b"x"));
    assert!(catch_unwind(AssertUnwindSafe(twice)).is_err(), "two writers");
    block.append(b"good");
    assert_eq!(block.slice(0..4).as_ref(), b"good");
    for (bytes, blocks) in [(4_095, 1), (0, 1), (4_096, 0), (usize::MAX & !4_095, 2)] {
        assert_eq!(Slab::new(bytes, blocks).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
}
