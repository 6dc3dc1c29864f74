//! Merging the links' answers.
