#ifndef WYVERN_TRAINER_HF_KEY_READER_H_
#define WYVERN_TRAINER_HF_KEY_READER_H_

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace wyvern {

// The findings of reading a file, each with the key's full name.
struct KeyFindings {
  std::vector<std::string> faults;
  std::vector<std::string> unknown;  // keys that nobody asked for
};

// Reads a JSON object key by key and gathers every fault. Absent and null keys leave the default.
class KeyReader {
 public:
  // `object` and `findings` must outlive the reader. `prefix` is "" or "attn.".
  KeyReader(const nlohmann::json& object, std::string prefix, KeyFindings* findings);
  // A reader of an object that this one's object holds, or a list of it. Its findings are added to
  // this reader's.
  KeyReader Inner(const nlohmann::json& object, std::string prefix) const;

  bool Has(const char* key);     // present and not null
  bool IsNull(const char* key);  // present, as null
  void Int(const char* key, int64_t* value);
  void Int(const char* key, std::optional<int64_t>* value);
  // One or more.
  void Count(const char* key, int64_t* value);
  void Real(const char* key, double* value);
  void Real(const char* key, std::optional<double>* value);
  void Bool(const char* key, bool* value);
  void String(const char* key, std::string* value);
  // The value itself; null when absent.
  const nlohmann::json& Json(const char* key);

  // Keys that do not change the mathematics.
  void Ignore(std::initializer_list<const char*> keys);
  // A fault unless the key is absent, null or `only`: other values would change the mathematics.
  void Only(const char* key, const nlohmann::json& only, const char* reason);

  // "key: what"
  void Fault(const char* key, const std::string& what);
  // Adds the keys of this object that were not asked for to the findings, and returns them.
  std::vector<std::string> NoteUnknown();

 private:
  const nlohmann::json* Find(const char* key);

  const nlohmann::json& object_;
  std::string prefix_;
  KeyFindings* findings_;
  std::set<std::string> asked_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_KEY_READER_H_
