// From text to a folder of shards, which read as one store: `wyvern data prepare --shard-bytes`.
//
//   DIR/shards.json           which part of the text each shard holds (data/store/shard_plan.h)
//   DIR/shard-00000/train.h5  an ordinary token store; val.h5 beside it if documents are held out
//   DIR/shard-00001/...
//
// Any number of processes, on any number of hosts, prepare one folder at the same time: whoever
// finds a shard missing claims it by a lock of its own (data/io/output.h), makes it under a
// temporary name and renames it. No byte of the result depends on who made what. A killed process
// loses the shard that it was making, which the next one begins anew.
#ifndef WYVERN_DATA_STORE_PREPARE_SHARDS_H_
#define WYVERN_DATA_STORE_PREPARE_SHARDS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/store/prepare.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

// FailedPrecondition where options.output_dir holds shards and the options ask for one store, or
// the other way round; InvalidArgument for options that shards do not have:
// - val_documents, and dedup: exact: each needs to know the documents of all shards;
// - workers without shards.
absl::Status CheckFolderForShards(const PrepareOptions& options);

// Makes the shards that are missing, in options.workers processes, and returns when all of them are
// there, also those that other processes make. A document is held out if its draw from (seed, file,
// place in the file) is below val_fraction; so it stays held out whatever the size of shards. Files
// count by their numbers in the list of the input.
//
// Errors: those of PrepareStore; a plan in the folder that is of another input or other options; a
// file that changed since the plan was made.
absl::StatusOr<PrepareResult> PrepareShards(const PrepareOptions& options,
                                            const Tokenizer& tokenizer);

// Whether PrepareShards would make the shards of the folder the same again. All of them are there.
// Files that are gone are said in `notes`. Files with another time are read and compared by size
// and CRC-32. FailedPrecondition says what is different.
absl::Status CheckShards(const PrepareOptions& options, const Tokenizer& tokenizer,
                         std::vector<std::string>* notes);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_PREPARE_SHARDS_H_
