#include "data/tokenizer/normal_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>
#include <vector>

#include "data/tokenizer/code_points.h"

namespace wyvern {
namespace {

const CodePointTable& Known() {
  static const auto* table = new CodePointTable(Unicode9());
  return *table;
}

bool IsComposed(NormalForm form) { return form == NormalForm::kNfc || form == NormalForm::kNfkc; }
bool IsCompatible(NormalForm form) {
  return form == NormalForm::kNfkc || form == NormalForm::kNfkd;
}

int CombiningClass(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Decomposed characters in canonical order, then composed. Marks are sorted here, because
// utf8proc's own sorting takes a time that is quadratic in their number.
void Flush(NormalForm form, std::vector<utf8proc_int32_t>* buffer, std::string* out) {
  const auto is_starter = [](utf8proc_int32_t c) { return CombiningClass(c) == 0; };
  for (auto at = buffer->begin(); at != buffer->end();) {
    const auto end = std::find_if(at, buffer->end(), is_starter);
    if (end - at > 1) {
      std::stable_sort(at, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
        return CombiningClass(a) < CombiningClass(b);
      });
    }
    at = end == buffer->end() ? end : end + 1;
  }
  auto size = static_cast<utf8proc_ssize_t>(buffer->size());
  if (IsComposed(form)) {
    size = utf8proc_normalize_utf32(
        buffer->data(), size, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  }
  for (utf8proc_ssize_t i = 0; i < size; ++i) {
    AppendCharacter(static_cast<uint32_t>((*buffer)[static_cast<size_t>(i)]), out);
  }
  buffer->clear();
}

}  // namespace

std::string Normalized(absl::string_view text, NormalForm form) {
  const int options = UTF8PROC_STABLE | (IsComposed(form) ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                      (IsCompatible(form) ? UTF8PROC_COMPAT : 0);
  std::string out;
  out.reserve(text.size());
  std::vector<utf8proc_int32_t> buffer;
  std::array<utf8proc_int32_t, 32> parts;  // Unicode's longest decomposition has 18
  int boundary = 0;
  for (size_t at = 0; at < text.size();) {
    int length;
    const uint32_t c = DecodeCharacter(text.data() + at, &length);
    at += static_cast<size_t>(length);
    // A starter of ASCII ends what came before: it composes with nothing to its left.
    if (c < 0x80 && !buffer.empty()) Flush(form, &buffer, &out);
    if (c >= 0x80 && !Known().Has(c)) {
      Flush(form, &buffer, &out);
      AppendCharacter(c, &out);
      continue;
    }
    if (c < 0x80) {
      const bool alone = at >= text.size() || static_cast<unsigned char>(text[at]) < 0x80;
      if (alone) {
        out.push_back(static_cast<char>(c));
        continue;
      }
    }
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(c), parts.data(), static_cast<utf8proc_ssize_t>(parts.size()),
        static_cast<utf8proc_option_t>(options), &boundary);
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) throw std::bad_alloc();
    buffer.insert(buffer.end(), parts.begin(), parts.begin() + count);
  }
  Flush(form, &buffer, &out);
  return out;
}

}  // namespace wyvern
