//! The tokenizer of [`agentworks_query::tokens`], as the index calls it.

use agentworks_query::tokens::Tokens;
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// The name under which the index knows it. Another way to cut text would get another name, so that no index is read in
/// a way in which it wasn't written. The filters of splits have words that are cut so, too; see [`crate::split::filter`].
pub const TOKENIZER: &str = "entry-1";

/// Cuts text as queries are cut.
#[derive(Clone, Debug, Default)]
pub struct EntryTokenizer {
    token: Token,
}

/// The tokens of one text.
#[derive(Debug)]
pub struct EntryTokens<'a> {
    tokens: Tokens<'a>,
    token: &'a mut Token,
}

impl Tokenizer for EntryTokenizer {
    type TokenStream<'a> = EntryTokens<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> EntryTokens<'a> {
        self.token.reset();
        EntryTokens { tokens: Tokens::new(text), token: &mut self.token }
    }
}

impl TokenStream for EntryTokens<'_> {
    fn advance(&mut self) -> bool {
        let Some(bytes) = self.tokens.next_into(&mut self.token.text) else { return false };
        (self.token.offset_from, self.token.offset_to) = (bytes.start, bytes.end);
        // The first is 0: before it stands the greatest number.
        self.token.position = self.token.position.wrapping_add(1);
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use agentworks_query::tokens::tokenize;

    use super::*;

    #[test]
    fn tokens_are_those_of_queries_with_positions_in_a_row() {
        let mut tokenizer = EntryTokenizer::default();
        for text in ["ToolRunner failed after 182ms: /var/log/x.y", "", "東京 timeout", "a"] {
            let mut stream = tokenizer.token_stream(text);
            let mut found = Vec::new();
            while stream.advance() {
                let token = stream.token();
                assert_eq!(token.position, found.len());
                assert!(text.get(token.offset_from..token.offset_to).is_some());
                found.push(token.text.clone());
            }
            assert_eq!(found, tokenize(text));
        }
    }
}
