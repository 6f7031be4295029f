// Whole files of a kind that has a limit. So another file that is named by mistake, or a device
// without an end, does not fill the memory before it is judged.
#ifndef WYVERN_DATA_IO_BOUNDED_FILE_H_
#define WYVERN_DATA_IO_BOUNDED_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace wyvern {

struct FileKind {
  const char* name;  // with its article
  int64_t max_bytes;
};

inline constexpr FileKind kConfigurationFile{"a configuration", int64_t{16} << 20};
inline constexpr FileKind kPathListFile{"a list of paths", int64_t{256} << 20};
inline constexpr FileKind kTokenizerFile{"a file of a tokenizer", int64_t{1} << 30};
inline constexpr FileKind kChatTemplateFile{"a chat template", int64_t{16} << 20};
inline constexpr FileKind kConversationFile{"a conversation", int64_t{64} << 20};
inline constexpr FileKind kJsonFile{"a JSON file", int64_t{1} << 30};
inline constexpr FileKind kManifestFile{"a checkpoint's manifest", int64_t{2} << 30};
inline constexpr FileKind kTableFile{"a table of points", int64_t{64} << 20};
inline constexpr FileKind kSampleFile{"a run's sample", int64_t{16} << 20};
inline constexpr FileKind kTaskFile{"a task of evaluation", int64_t{16} << 20};
inline constexpr FileKind kHaystackFile{"a haystack", int64_t{1} << 30};
inline constexpr FileKind kNoteFile{"a note of a few words", int64_t{64} << 10};
inline constexpr FileKind kMetricsFile{"a run's metrics", int64_t{4} << 30};

// ReadFile of a regular file or a pipe. InvalidArgument: another thing, or a longer file, with its
// size and the limit.
absl::StatusOr<std::string> ReadFileOf(const FileKind& kind, const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_BOUNDED_FILE_H_
