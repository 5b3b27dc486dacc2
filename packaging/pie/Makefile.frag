# Calls cargo for the PHP that ./configure found; `make install` of phpize's Makefile then copies the contents of modules/.

.PHONY: toporia_realtime-crate

$(phplibdir)/toporia_realtime.so: toporia_realtime-crate
	@mkdir -p $(phplibdir)
	cp $(top_builddir)/cargo/release/libtoporia_realtime.so $@

toporia_realtime-crate:
	cd $(TOPORIA_REALTIME_CRATE) && PHP=$(TOPORIA_REALTIME_PHP) PHP_CONFIG=$(PHP_CONFIG) RUSTFLAGS="$(TOPORIA_REALTIME_RUSTFLAGS)" \
		$(TOPORIA_REALTIME_CARGO) rustc --release --locked --lib --crate-type cdylib --target-dir $(abs_top_builddir)/cargo
