// Which files of a folder are text to train on.
#ifndef WYVERN_DATA_TEXT_TEXT_FILES_H_
#define WYVERN_DATA_TEXT_TEXT_FILES_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace wyvern {

struct TextFiles {
  std::vector<std::string> paths;
  // With MissingText::kMark: those of `paths` that lead to no text (any more).
  std::set<std::string> missing;
  std::vector<std::string> notes;  // what was passed over, for the console
};

// How to treat a path, or a link in a folder, that leads to nothing, and a folder without text.
enum class MissingText { kError, kMark };

// The files named, also by lists (data/text/path_list.h), and of the folders named every file below
// that is text, sorted by path; each file once, by whatever names it is reached. A file named
// itself may end in anything.
//
// A folder's text is what ends in .txt, .md, .jsonl, .ndjson, .json, .jsonlines or .jl, with or
// without the ending of a compression behind, or in .parquet, in any case; and JSON lines with the
// member `field` whose name has no ending, or one of digits, as shards have. Links to files and
// folders are followed. Left out, and named in the notes: hidden entries, other endings, and beside
// other files .txt and .md files called README, LICENSE and the like, the known names of metadata,
// and uncompressed .json files of one object over several lines.
//
// Errors: a path that does not exist, a link to nothing, a folder without text, a file that cannot
// be read or decompressed where its content decides.
absl::StatusOr<TextFiles> FindTextFiles(const std::vector<std::string>& inputs,
                                        const std::string& field,
                                        MissingText missing = MissingText::kError);

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_TEXT_FILES_H_
