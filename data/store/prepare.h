// From raw text to token stores: `wyvern data prepare`.
#ifndef WYVERN_DATA_STORE_PREPARE_H_
#define WYVERN_DATA_STORE_PREPARE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/store/split_stores.h"
#include "data/text/text_source.h"
#include "data/tokenizer/tokenizer_bundle.h"

namespace wyvern {

struct PrepareOptions {
  TextSourceOptions source;
  std::string tokenizer = "byte";  // as LoadTokenizer takes it
  TokenizerSettings tokenizer_settings;
  std::string output_dir;  // receives train.h5 and val.h5
  // The held-out documents: this share of all, drawn document by document from (seed, index); or
  // exactly val_documents of them when that is not zero. Both zero: no val.h5.
  double val_fraction = 0.01;
  int64_t val_documents = 0;
  uint64_t seed = 1;
  // More than 0: shards of about so many bytes of files (data/store/prepare_shards.h), not one
  // store. Then a held-out document is drawn from (seed, file, place in the file).
  int64_t shard_bytes = 0;
  int workers = 1;       // processes that prepare shards. The stores do not depend on it.
  bool may_fork = true;  // false: this process makes all shards (data/store/worker_processes.h)
  int num_threads = 0;   // of each worker; 0: every core in all. The stores do not depend on it.
  bool progress = true;  // on stderr: a live bar on a terminal, else a line now and then
};

struct PrepareResult : SplitResult {
  int64_t num_shards = 0;  // 0: one store
  // Unknown for shards, which other processes may have made long ago: 0, but for `seconds`.
  int64_t text_bytes = 0;  // UTF-8, uncompressed
  double seconds = 0;
  double megabytes_per_second = 0;  // of text
  double tokens_per_second = 0;
  bool has_separator = false;      // a document_separator was given
  std::vector<std::string> notes;  // TextSource::Notes
  std::string ToString() const;    // one paragraph for the console
};

// Tokenises the source in parallel and in bounded memory; appends eos (if the tokenizer has one) to
// every document, and puts bos before it with source.add_bos, for which a tokenizer without bos is
// an error. With two documents or more, and a held-out split asked for, each split gets one
// at least; a single document goes to train.h5 and there is no val.h5.
//
// Text that changes while it is read is an error, also between the passes of a split that needs
// two. Either both stores appear or, on an error, none does and old ones stay. train.h5 comes last,
// so that it is there only with a whole val.h5; one of two preparations, which a killed process may
// leave in the place of old stores, is told by TokenStore::CheckSamePreparation, and the same
// command goes through again. Writes prepared.json (data/store/made_from.h), too.
absl::StatusOr<PrepareResult> PrepareStore(const PrepareOptions& options);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_PREPARE_H_
