#include "data/text/binary_kind.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

using absl::string_view;

constexpr string_view kToLines = "make JSON lines of it first";
constexpr string_view kStreamToParquet =
    "make Parquet of it first, in Python: datasets.Dataset.from_file(FILE).to_parquet(NEW_FILE)";
constexpr string_view kFileToParquet =
    "make Parquet of it first, in Python: "
    "pyarrow.parquet.write_table(pyarrow.feather.read_table(FILE), NEW_FILE)";
constexpr string_view kUnpack = "unpack it first";
constexpr string_view kAgain = "it lies inside of another compression; undo one of them first";
constexpr string_view kNoText = "name text or JSON lines instead";
constexpr string_view kUtf16 = "convert it first: iconv -f UTF-16 -t UTF-8";

// A string literal with its zero bytes.
template <size_t N>
constexpr string_view Bytes(const char (&literal)[N]) {
  return string_view(literal, N - 1);
}

struct Magic {
  size_t offset;
  string_view bytes;
  string_view name;
  string_view advice;
  bool could_be_text = false;  // so it counts only before a zero byte
};

const Magic kMagics[] = {
    {0, "PAR1", "a Parquet file", "leave the format at 'auto', which reads its column 'field'"},
    {0, "PARE", "an encrypted Parquet file", kToLines, true},
    {0, "ARROW1", "an Arrow file", kFileToParquet},
    {0, "\xFF\xFF\xFF\xFF", "an Arrow stream, as datasets saves it", kStreamToParquet},
    {0, "FEA1", "a Feather file", kToLines, true},
    {0, "ORC", "an ORC file", kToLines, true},
    {0, "Obj\x01", "an Avro file", kToLines},
    {0, "\x89HDF\r\n\x1A\n", "an HDF5 file", "a token store goes in as data.sources' dir"},
    {0, "\x93NUMPY", "a NumPy array", kNoText},
    {0, Bytes("SQLite format 3\0"), "an SQLite database", kToLines},
    {0, "\x1F\x8B", "gzip data", kAgain},
    {0, "\x28\xB5\x2F\xFD", "zstd data", kAgain},
    {0,
     "\xFD"
     "7zXZ",
     "xz data", kAgain},
    {0, "BZh91AY&SY", "bzip2 data", kAgain},
    {0, "\x1F\x9D", "data of compress", "decompress it first"},
    {0, "\x04\x22\x4D\x18", "lz4 data", "decompress it first"},
    {0, Bytes("\x5D\0\0"), "lzma data", "decompress it first"},
    {0, "\xFF\x06", "snappy data", "decompress it first"},
    {0, "version https://git-lfs.github.com/spec/", "a pointer of Git LFS to a file",
     "fetch the file itself: git lfs pull"},
    {0, "PK\x03\x04", "a zip archive", kUnpack},
    {0, "PK\x05\x06", "an empty zip archive", kUnpack},
    {0, "7z\xBC\xAF\x27\x1C", "a 7z archive", kUnpack},
    {0, "Rar!\x1A\x07", "a RAR archive", kUnpack},
    {257, "ustar", "a tar archive", kUnpack},
    {0, "WARC/", "a web archive (WARC)", "extract its text first"},
    {0, "%PDF-", "a PDF document", "extract its text first"},
    {0, "\xD0\xCF\x11\xE0", "an old Office document", "extract its text first"},
    {0,
     "\x7F"
     "ELF",
     "a program (ELF)", kNoText},
    {0, Bytes("\0asm"), "a program (WebAssembly)", kNoText},
    {0, "\x89PNG", "a PNG image", kNoText},
    {0, "\xFF\xD8\xFF", "a JPEG image", kNoText},
    {0, "GIF8", "a GIF image", kNoText, true},
    {0, "\x80\x02", "a Python pickle", kNoText},
    {0, "\x80\x03", "a Python pickle", kNoText},
    {0, "\x80\x04", "a Python pickle", kNoText},
    {0, "\x80\x05", "a Python pickle", kNoText},
    {0, Bytes("\xFF\xFE\0\0"), "UTF-32 text", "convert it first: iconv -f UTF-32 -t UTF-8"},
    {0, Bytes("\0\0\xFE\xFF"), "UTF-32 text", "convert it first: iconv -f UTF-32 -t UTF-8"},
    {0, "\xFF\xFE", "UTF-16 text", kUtf16},
    {0, "\xFE\xFF", "UTF-16 text", kUtf16},
};

// Zero bytes at the odd or at the even places alone: characters of 16 bits.
bool LooksLikeUtf16(string_view head) {
  size_t zeros[2] = {0, 0};
  for (size_t i = 0; i < head.size(); ++i) zeros[i % 2] += head[i] == '\0' ? 1 : 0;
  return std::max(zeros[0], zeros[1]) > head.size() / 4 && std::min(zeros[0], zeros[1]) == 0;
}

}  // namespace

std::string BinaryKind(string_view head) {
  const size_t zero = head.find('\0');
  for (const Magic& magic : kMagics) {
    if (head.size() < magic.offset || (magic.could_be_text && zero == string_view::npos)) {
      continue;
    };
    if (absl::StartsWith(head.substr(magic.offset), magic.bytes)) {
      return absl::StrCat("this is ", magic.name, ", which is not read as text; ", magic.advice);
    }
  }
  if (zero == string_view::npos) return "";
  if (LooksLikeUtf16(head)) return absl::StrCat("this is UTF-16 text, which is not read; ", kUtf16);
  return absl::StrCat("this is binary data (byte ", zero + 1,
                      " is zero), which is not read as text; name text or JSON lines instead");
}

}  // namespace wyvern
