//! [`ListPages`]: the links from one page of a list to the next, for lists that are read as a whole.
//!
//! [`ListPages::cut`] returns the rows of a page; the template `list_pages.html` shows the links. One page of the console can
//! have several such lists.

use serde::Deserialize;

/// The parameter of a page with one list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Position {
    /// The number of the page, from 1.
    pub(super) page: usize,
}

/// A page of a list.
pub(super) struct ListPages {
    /// The number of this page, from 1.
    pub(super) number: usize,
    pub(super) pages: usize,
    /// The address of the page before.
    pub(super) previous: Option<String>,
    /// The address of the next page.
    pub(super) next: Option<String>,
}

impl ListPages {
    /// Returns the rows of the wanted page and the links; no links if there is one page. A number beyond the last page is that of
    /// the last one. `address` returns the address of a page.
    pub(super) fn cut<T>(
        rows: Vec<T>,
        size: usize,
        wanted: usize,
        address: impl Fn(usize) -> String,
    ) -> (Vec<T>, Option<Self>) {
        let pages = rows.len().div_ceil(size).max(1);
        let number = wanted.clamp(1, pages);
        let links = Self {
            number,
            pages,
            previous: (number > 1).then(|| address(number - 1)),
            next: (number < pages).then(|| address(number + 1)),
        };
        let rows = rows.into_iter().skip((number - 1) * size).take(size).collect();
        (rows, (pages > 1).then_some(links))
    }
}
