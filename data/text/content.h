// The kind of an input's bytes, judged by themselves, with the file's name as a hint.
#ifndef WYVERN_DATA_TEXT_CONTENT_H_
#define WYVERN_DATA_TEXT_CONTENT_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/text/text_format.h"

namespace wyvern {

enum class ContentKind {
  kText,
  kJsonLines,  // an object a line
  kJsonArray,  // of objects or strings, however it is laid out
  kParquet,
};

// Whether the name ends in .parquet, in any case.
bool IsParquetName(absl::string_view path);

// The kind that the endings of a name say, those of compression left aside: JSON (.jsonl, .ndjson,
// .json, .jsonlines, .jl), text (.txt, .md) or neither; neither, too, if the two last ones disagree
// (.jsonl.txt).
enum class NameHint { kNone, kText, kJson };
NameHint HintOfName(absl::string_view path);

// The first bytes of a decompressed file, by which it is judged.
inline constexpr size_t kHeadBytes = size_t{1} << 16;

// It seems to be JSON if it begins as an object does ({") or an array of them ([{"), or if most
// lines of the head, and two at least, are objects. Faults of UTF-8 count as characters here.
//
// `head` begins behind a byte order mark, and `is_whole` says that nothing follows it. Errors:
// binary data of any kind, which are never text; JSON that is neither lines nor an array of
// objects. With TextFormat::kAuto:
//   name     content                                                      kind
//   JSON     an array of objects                                          array
//            one object over several lines                                error
//            anything else                                                lines, read strictly
//   neither  its first line is an object                                  lines
//            its first line is none, and it seems to be JSON all the same error
//            an array of objects                                          array
//            one object over several lines                                error
//            anything else                                                text
//   text     every line of the head is an object                          lines
//            its first line is an object and others are not               error
//            an array whose first element is an object                    array
//            its first line is none, and it seems to be JSON all the same error
//            anything else                                                text
absl::StatusOr<ContentKind> KindOfContent(const std::string& path, absl::string_view head,
                                          bool is_whole, TextFormat format);

// Whether JSON lines whose first object has the member `field`, a string, if it ends within the
// head; or lines of which KindOfContent says that they seem to be JSON and that the first is
// broken.
bool MayBeJsonLinesWith(absl::string_view head, bool is_whole, const std::string& field);

// Whether one object laid out over several lines, as metadata is.
bool IsSingleObject(absl::string_view head);

// The bytes of the JSON value at the front of `text`, which begins with a bracket; npos: its end is
// not there. A text may be given again with more behind it, to the same scanner.
class JsonValueScanner {
 public:
  size_t Scan(absl::string_view text);

 private:
  size_t scanned_ = 0;
  int64_t depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_CONTENT_H_
