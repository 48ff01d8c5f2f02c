//! Lists that come in pages.

use quorate_rpc::{ClientError, pb::types::View};

/// How many entries a page is asked to have.
pub(super) const PAGE_SIZE: u32 = 500;

/// One page: its entries, the token of the next, and what it was answered from.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next_page_token: String,
    pub(super) view: Option<View>,
}

/// Every entry of every page, and the view of the last one.
pub(super) async fn pages<T>(
    mut ask: impl AsyncFnMut(String) -> Result<Page<T>, ClientError>,
) -> Result<(Vec<T>, Option<View>), ClientError> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let page = ask(token).await?;
        all.extend(page.items);
        if page.next_page_token.is_empty() {
            return Ok((all, page.view));
        }
        token = page.next_page_token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn asks_until_there_is_no_next_page() {
        let mut asked = Vec::new();
        let (all, view) = pages(async |token: String| {
            asked.push(token.clone());
            let (items, next) = match token.as_str() {
                "" => (vec![1, 2], "two"),
                "two" => (vec![3], "three"),
                _ => (vec![], ""),
            };
            let view = Some(View { revision: asked.len() as u64, ..View::default() });
            Ok(Page { items, next_page_token: next.to_owned(), view })
        })
        .await
        .unwrap();
        assert_eq!(all, [1, 2, 3]);
        assert_eq!(asked, ["", "two", "three"]);
        assert_eq!(view.unwrap().revision, 3);
    }
}
