//! Products of every format with every set of instructions, against plain loops and against each other.

mod products;
mod samples;
