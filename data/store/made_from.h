// Describes by content what token stores were made from, and compares it with what is there now.
//
// The description is JSON: options and, under "files", the name without folders, size and CRC-32 of
// each file. It lies in the stores themselves (data/README.md). The file prepared.json beside them
// adds what the file system said of the files, so that a later start need not read terabytes to
// learn that they are as they were; without it, it does.
#ifndef WYVERN_DATA_STORE_MADE_FROM_H_
#define WYVERN_DATA_STORE_MADE_FROM_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/io/json.h"
#include "data/text/text_source.h"

namespace wyvern {

// The files were read to their ends; `files` and `read` go together.
std::string DescribeMadeFrom(nlohmann::json options, const std::vector<std::string>& files,
                             const std::vector<ReadFileInfo>& read);

// Writes prepared.json into the folder of the stores of this description.
absl::Status WritePrepared(const std::string& dir, const std::string& description,
                           const std::vector<ReadFileInfo>& read);

// Says on `notes` which of the files of a store are not there (any more).
void NoteMissing(const std::string& dir, const std::vector<std::string>& files,
                 const std::set<std::string>& missing, std::vector<std::string>* notes);

// Whether dir/train.h5, which describes itself so, is made with these options from these files, in
// this order. Files whose size, inode, modification and change time are those of prepared.json
// count as equal; others are read and compared by size and CRC-32 (then prepared.json is written
// anew), so that a touched, moved or copied file is the same and a changed one never is, but for
// CRC-32's chance of 2^-32. Those of `files` that are `missing` cannot be compared; options and the
// files that are left are compared all the same. FailedPrecondition says what is different.
absl::Status CheckMadeFrom(const std::string& dir, const std::string& description,
                           const nlohmann::json& options, const std::vector<std::string>& files,
                           const std::set<std::string>& missing);

// The present path of each file that the stores in `dir` were made from; empty: it is missing.
// `present` are the paths of the input now, those that are `missing` among them; `files`: objects
// with a "name". FailedPrecondition: the input has other files, or another order.
absl::StatusOr<std::vector<std::string>> PresentPaths(const std::string& dir,
                                                      const std::vector<std::string>& present,
                                                      const std::set<std::string>& missing,
                                                      const nlohmann::json& files);

// The error of a store that was made otherwise.
absl::Status MadeOtherwise(const std::string& dir, const std::string& difference);

// Names the first member that differs between two objects; empty: none. "files" and "left_out",
// which counts documents, are what reading finds and are left aside.
std::string OptionDifference(const nlohmann::json& wanted, const nlohmann::json& made);

// prepared.json in the folder.
std::string PreparedPath(const std::string& dir);

// Reads a file's own bytes, for what is known of a file that was read.
absl::StatusOr<ReadFileInfo> ReadWholeFile(const std::string& path);

// A file's name without its folders, as descriptions have it: the data may move.
std::string NameOf(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_MADE_FROM_H_
