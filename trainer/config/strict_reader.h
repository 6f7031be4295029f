#ifndef WYVERN_TRAINER_CONFIG_STRICT_READER_H_
#define WYVERN_TRAINER_CONFIG_STRICT_READER_H_

#include <string>
#include <vector>

#include "layers/config_visitor.h"
#include "trainer/config/node.h"

namespace wyvern {

struct ConfigFault {
  std::string where;    // "configs/a.yaml:4"
  std::string key;      // "model.hidden_size"
  std::string message;  // "expected an integer, got 'four'"
  bool idle = false;    // the key is right, but has no effect beside another
  bool open = false;    // a choice that is none, so that the rest of its section is not known
};

// Fills structs from one section of a file. What is wrong is gathered, never thrown: ill-typed
// values (the struct keeps its default), keys without effect, and, at Finish, unknown and repeated
// keys.
class StrictReader : public ConfigVisitor {
 public:
  // `key` is the section's own dotted key, empty for the whole file.
  StrictReader(const ConfigNode& node, std::string key, std::vector<ConfigFault>* faults);

  void Value(const std::string& key, int64_t* value) override;
  void Value(const std::string& key, uint64_t* value) override;
  void Value(const std::string& key, double* value) override;
  void Value(const std::string& key, bool* value) override;
  void Value(const std::string& key, std::string* value) override;
  void Value(const std::string& key, std::optional<double>* value) override;
  void Value(const std::string& key, std::vector<std::string>* value) override;
  void Value(const std::string& key, std::vector<int64_t>* value) override;
  void CountOr(const std::string& word, const std::string& key, int64_t* value) override;
  void Choice(const std::string& key, const std::vector<std::string>& names, int* index) override;
  void Section(const std::string& key, const Body& body) override;
  bool Has(const std::string& key, bool held) override;
  void List(const std::string& key, const std::function<size_t()>& size,
            const std::function<void(size_t)>& resize,
            const std::function<void(size_t, ConfigVisitor&)>& body) override;
  void Names(const std::string& key, const std::vector<std::string>& names,
             const std::function<void(const std::string&, ConfigVisitor&)>& body) override;
  void Only(bool applies, const std::string& instead, const Body& body) override;

  // The part of the file below a key, as it was written; null when the file does not have it.
  const ConfigNode* Raw(const std::string& key) { return Take(key); }

  // Reports the keys that no visit asked for, with the name that a key of another trainer has here,
  // or the nearest one that some visit asked for.
  void Finish();

 private:
  // The key's node; null when the file does not give it, or gives it without effect.
  const ConfigNode* Take(const std::string& key);
  std::string FullKey(const std::string& key) const;
  std::string AdviceOn(const std::string& key) const;  // one that is unknown
  void Fault(const ConfigNode& node, const std::string& key, std::string message);
  bool Scalar(const ConfigNode& node, const std::string& key, const char* expected,
              bool quotes_allowed);
  bool ParseInteger(const ConfigNode& node, const std::string& key, int64_t* value);

  const ConfigNode& node_;
  const std::string key_;
  std::vector<ConfigFault>* faults_;
  std::vector<std::string> known_;
  std::string no_effect_;  // not empty inside an Only that does not apply
  // After a choice that is none: which keys have an effect is not known, nor, where the file has to
  // choose, which keys there are.
  bool is_choice_open_ = false, lacks_keys_ = false;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CONFIG_STRICT_READER_H_
