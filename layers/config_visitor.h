// Each configuration struct lists its keys once, for every visitor: a reader fills the structs from
// a file, a writer prints them, and the reference (docs/configuration.md) explains them. So what is
// written can be read, and what can be read is explained.
#ifndef WYVERN_LAYERS_CONFIG_VISITOR_H_
#define WYVERN_LAYERS_CONFIG_VISITOR_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace wyvern {

// The description of a key in the reference.
struct KeyDoc {
  KeyDoc() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): most keys have a sentence alone
  KeyDoc(std::string text, std::string range = "", std::string unit = "")
      : text(std::move(text)), range(std::move(range)), unit(std::move(unit)) {}
  KeyDoc(const char* text) : text(text) {}  // NOLINT(google-explicit-constructor)

  std::string text;   // one sentence
  std::string range;  // of numbers: "[1, 256]", "(0, 1)"; a default outside of it must be replaced
  std::string unit;   // "tokens"
};

class ConfigVisitor {
 public:
  virtual ~ConfigVisitor() = default;

  // Called before the visit of the key that `doc` describes.
  virtual void Describe(const KeyDoc& /*doc*/) {}

  virtual void Value(const std::string& key, int64_t* value) = 0;
  virtual void Value(const std::string& key, uint64_t* value) = 0;
  virtual void Value(const std::string& key, double* value) = 0;
  virtual void Value(const std::string& key, bool* value) = 0;
  virtual void Value(const std::string& key, std::string* value) = 0;
  virtual void Value(const std::string& key, std::optional<double>* value) = 0;
  virtual void Value(const std::string& key, std::vector<std::string>* value) = 0;
  virtual void Value(const std::string& key, std::vector<int64_t>* value) = 0;
  // A number, or `word`, for which -1 stands.
  virtual void CountOr(const std::string& word, const std::string& key, int64_t* value) = 0;
  // One of `names`, by its index; with *index < 0 the file must give it.
  virtual void Choice(const std::string& key, const std::vector<std::string>& names,
                      int* index) = 0;

  using Body = std::function<void(ConfigVisitor&)>;
  virtual void Section(const std::string& key, const Body& body) = 0;
  // Whether a section that may be left out is there: in the file, for the reader, or among what the
  // structs hold, for the writer.
  virtual bool Has(const std::string& key, bool held) = 0;
  // A list of sections, or a map from names to anything. `size` and `names` hold what the structs
  // hold, for the writer; the reader sets them from the file before it calls `body` on each.
  virtual void List(const std::string& key, const std::function<size_t()>& size,
                    const std::function<void(size_t)>& resize,
                    const std::function<void(size_t, ConfigVisitor&)>& body) = 0;
  virtual void Names(const std::string& key, const std::vector<std::string>& names,
                     const std::function<void(const std::string&, ConfigVisitor&)>& body) = 0;

  // `body` visits keys that only have an effect when `applies`; otherwise a file that gives one is
  // told "has no effect with `instead`", and the writer leaves them out.
  virtual void Only(bool applies, const std::string& instead, const Body& body) = 0;

  // The same with a description.
  template <typename T>
  void Value(const std::string& key, T* value, const KeyDoc& doc) {
    Describe(doc);
    Value(key, value);
  }
  void CountOr(const std::string& word, const std::string& key, int64_t* value, const KeyDoc& doc) {
    Describe(doc);
    CountOr(word, key, value);
  }
  void Choice(const std::string& key, const std::vector<std::string>& names, int* index,
              const KeyDoc& doc) {
    Describe(doc);
    Choice(key, names, index);
  }
  void Section(const std::string& key, const KeyDoc& doc, const Body& body) {
    Describe(doc);
    Section(key, body);
  }
  template <typename Enum>
  void Enumerated(const std::string& key, const std::vector<std::string>& names, Enum* value,
                  const KeyDoc& doc) {
    int index = static_cast<int>(*value);
    Choice(key, names, &index, doc);
    *value = static_cast<Enum>(index);
  }
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_CONFIG_VISITOR_H_
