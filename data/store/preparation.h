// Describes by content the text that token stores were made from, and compares it with the present
// text.
//
// The description is JSON: the options, the tokenizer's hash and of every file its name without
// folders, size and CRC-32. It lies in the stores themselves (data/README.md). The file
// prepared.json beside them adds what the file system said of the files, so that a later start need
// not read terabytes to learn that they are as they were; without it, it does.
#ifndef WYVERN_DATA_STORE_PREPARATION_H_
#define WYVERN_DATA_STORE_PREPARATION_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "data/store/prepare.h"
#include "data/text/text_source.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

// `source` was read to its end.
std::string DescribePreparation(const PrepareOptions& options, const Tokenizer& tokenizer,
                                const TextSource& source);

// Writes prepared.json into options.output_dir, for the stores of this description.
absl::Status WritePrepared(const PrepareOptions& options, const std::string& description,
                           const TextSource& source);

// Whether PrepareStore would make the store train.h5 in options.output_dir the same again. Files
// whose size, inode, modification and change time are those of prepared.json count as equal;
// others are read and compared by size and CRC-32 (then prepared.json is written anew), so that a
// touched, moved or copied file is the same and a changed one never is, but for CRC-32's chance of
// 2^-32. Files that are gone cannot be compared, which a note says; options and the files that are
// left are compared all the same. OK, too, where the store does not say what it was made from.
// FailedPrecondition says what is different.
absl::Status CheckPrepared(const PrepareOptions& options, const Tokenizer& tokenizer,
                           std::vector<std::string>* notes);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_PREPARATION_H_
