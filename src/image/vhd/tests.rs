//! Tests of VHDs made here.
