//! All engines together: they agree on every sequence, and each opens what any other has left, however it stopped.

use log_testkit::{kill, model, power};

log_testkit::under_test!(Memory: log_memory::Memory);
log_testkit::under_test!(Mmap: log_mmap::Mmap);
log_testkit::under_test!(Direct: log_direct::Direct);
log_testkit::under_test!(PageCache: log_pagecache::PageCache);

fn on_disk() -> [model::Runner; 3] {
    [model::runner::<Mmap>(), model::runner::<Direct>(), model::runner::<PageCache>()]
}

fn readers() -> [kill::Reader; 3] {
    [kill::reader::<Direct>(), kill::reader::<PageCache>(), kill::reader::<Mmap>()]
}

#[test]
fn engines_agree_over_closes_and_crashes() {
    model::same_operations_same_log(&on_disk());
}

#[test]
fn engines_agree_with_the_reference_model() {
    let [mmap, direct, page_cache] = on_disk();
    model::same_operations_same_log(&[model::runner::<Memory>(), mmap, direct, page_cache]);
}

#[test]
fn engines_take_over_each_others_directories() {
    model::random_operations(&on_disk());
    // The other way round, so that each follows each.
    let [mmap, direct, page_cache] = on_disk();
    model::random_operations(&[page_cache, direct, mmap]);
}

#[test]
fn what_a_killed_mmap_left_is_read_by_all() {
    let test = concat!(module_path!(), "::what_a_killed_mmap_left_is_read_by_all");
    kill::kill_nine::<Mmap>(test, &readers());
}

#[test]
fn what_a_killed_direct_left_is_read_by_all() {
    let test = concat!(module_path!(), "::what_a_killed_direct_left_is_read_by_all");
    kill::kill_nine::<Direct>(test, &readers());
}

#[test]
fn what_a_killed_page_cache_left_is_read_by_all() {
    let test = concat!(module_path!(), "::what_a_killed_page_cache_left_is_read_by_all");
    kill::kill_nine::<PageCache>(test, &readers());
}

#[test]
fn what_a_power_cut_left_of_mmap_is_read_by_all() {
    let test = concat!(module_path!(), "::what_a_power_cut_left_of_mmap_is_read_by_all");
    power::power_cuts::<Mmap>(test, &readers());
}

#[test]
fn what_a_power_cut_left_of_direct_is_read_by_all() {
    let test = concat!(module_path!(), "::what_a_power_cut_left_of_direct_is_read_by_all");
    power::power_cuts::<Direct>(test, &readers());
}

#[test]
fn what_a_power_cut_left_of_page_cache_is_read_by_all() {
    let test = concat!(module_path!(), "::what_a_power_cut_left_of_page_cache_is_read_by_all");
    power::power_cuts::<PageCache>(test, &readers());
}
