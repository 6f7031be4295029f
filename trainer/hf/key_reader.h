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

// Reads a JSON object key by key, gathers every fault with the key's full name, and knows at the
// end which keys nobody asked for. Absent and null keys leave the default.
class KeyReader {
 public:
  // `object` must outlive the reader. `prefix` is "" or "attn.".
  KeyReader(const nlohmann::json& object, std::string prefix, std::vector<std::string>* faults);

  bool Has(const char* key);  // present and not null
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
  // Keys that were not asked for.
  std::vector<std::string> Unread() const;

 private:
  const nlohmann::json* Find(const char* key);

  const nlohmann::json& object_;
  std::string prefix_;
  std::vector<std::string>* faults_;
  std::set<std::string> asked_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_KEY_READER_H_
