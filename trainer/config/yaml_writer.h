#ifndef WYVERN_TRAINER_CONFIG_YAML_WRITER_H_
#define WYVERN_TRAINER_CONFIG_YAML_WRITER_H_

#include <string>

#include "layers/config_visitor.h"

namespace wyvern {

// Prints every key that has an effect, two spaces of indentation per level.
class YamlWriter : public ConfigVisitor {
 public:
  explicit YamlWriter(std::string* out, int indent = 0) : out_(out), indent_(indent) {}

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
  bool Has(const std::string&, bool held) override { return held; }
  void List(const std::string& key, const std::function<size_t()>& size,
            const std::function<void(size_t)>& resize,
            const std::function<void(size_t, ConfigVisitor&)>& body) override;
  void Names(const std::string& key, const std::vector<std::string>& names,
             const std::function<void(const std::string&, ConfigVisitor&)>& body) override;
  void Only(bool applies, const std::string& instead, const Body& body) override;

 private:
  void Line(const std::string& key, const std::string& value);

  std::string* out_;
  int indent_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CONFIG_YAML_WRITER_H_
