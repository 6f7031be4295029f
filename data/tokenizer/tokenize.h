// Parallel tokenisation of a source, in bounded memory and in the source's order.
#ifndef WYVERN_DATA_TOKENIZER_TOKENIZE_H_
#define WYVERN_DATA_TOKENIZER_TOKENIZE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "data/chat/chat_template.h"
#include "data/text/text_source.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

// A piece of the source with its tokens. bos and eos are not among them.
struct TokenizedPiece {
  std::vector<int32_t> tokens;
  // A conversation has 1 for each token that is learnt, else 0; empty: all of them are.
  std::vector<uint8_t> learnt;
  bool needs_eos = true;  // the document is to be closed by eos, which is learnt
  int64_t text_bytes = 0;
  int32_t source = 0;
  int64_t position = 0;  // where its document begins, as TextPiece has it
  bool ends_document = true;
  absl::Status damage;  // with OnError::kSkip: why this record is to be left out, with its place
};

// How the documents of a source are to come for this tokenizer: in pieces only if no token of the
// text depends on where it is cut.
LongDocuments LongDocumentsOf(const Tokenizer& tokenizer);

// With `chat`, the pieces are conversations, whose parts that are learnt and others are encoded
// each by itself, as a model meets them: the prompt, then its answer. One that cannot be rendered
// is an error, or with OnError::kSkip a piece with its damage.
//
// Reads on a thread of its own, encodes on `num_threads` others and calls `consume` on the caller's
// thread for every piece, in the order of the source: what it sees does not depend on the number
// of threads. Stops at the first error of the source or of `consume`, and returns it. Each call to
// `consume` also gets the bytes of the source's files that were read by then.
absl::Status Tokenize(
    TextSource* source, const Tokenizer& tokenizer, const ChatTemplate* chat, OnError on_error,
    int num_threads,
    const std::function<absl::Status(const TokenizedPiece&, int64_t file_bytes_read)>& consume);

// `requested`, or the machine's cores if it is 0.
int ThreadCount(int requested);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_TOKENIZE_H_
