# The container images: trainer_image/README.md says what BASE and ARCHIVES are.

.PHONY: images
images: base-parts  ## build both images with buildah, and try them (ONLY=slim, BASE=…@sha256:…, ARCHIVES=…)
	BASE='$(BASE)' ARCHIVES='$(ARCHIVES)' KEEP='$(KEEP)' nice trainer_image/images.sh $(ONLY)
