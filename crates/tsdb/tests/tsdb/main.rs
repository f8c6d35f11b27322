//! The store seen from outside.

mod basics;
mod blocks;
mod changes;
mod damage;
mod exemplars;
mod faults;
mod faulty_fs;
mod following;
mod full_disk;
mod glimpses;
mod histograms;
mod images;
mod inspect;
mod kill;
mod maintenance;
mod metadata;
mod parts;
mod prometheus;
mod property;
mod repair;
mod starts;
mod support;
mod together;
